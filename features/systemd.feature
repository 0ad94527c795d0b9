Feature: Services that a real systemd starts
  A systemd boots in a box, makes the credentials, starts the services, and each loads through the library what its unit
  passes on. What correct units pass on is loaded, whatever hardening they have, and nothing else is.

  Background:
    Given "app" may load the credential "db"
    And a machine with a token in "/run/machine/store/db"

  @OPS-2002 @OPS-2004 @OPS-2005 @SM-LOAD-4002
  Scenario: Every correct unit gets its credential, whoever runs it and whatever hardens it
    Given units that start "app" to load "db" from "/run/machine/store/db", each with one more line
      | User=root                        |
      | User=backup                      |
      | DynamicUser=yes                  |
      | PrivateUsers=yes                 |
      | MemoryDenyWriteExecute=yes       |
      | SystemCallFilter=@system-service |
    When systemd starts them
    Then each has the token

  @OPS-2003 @POL-1001
  Scenario: A unit that starts another service gets nothing
    Given the unit "app.service", which starts "other" to load "db":
      """
      LoadCredential=db:/run/machine/store/db
      """
    When systemd starts it
    Then it is refused because service "other" has no grant for it

  @OPS-2003 @SM-LOAD-4002
  Scenario: A unit that lacks the line is told which
    Given the unit "app.service", which starts "app" to load "db":
      """
      User=backup
      """
    When systemd starts it
    Then it is told that the unit lacks "LoadCredential=db:"

  @IDN-1002 @IDN-1003 @IDN-1005
  Scenario: A unit proves by what systemd made of it that it is the one of the grant
    Given "queen" may load the credential "token" when it runs as the unit "queen.service"
    And the unit "queen.service", which starts "queen" to load "token":
      """
      LoadCredential=token:/run/machine/store/db
      """
    When systemd starts it
    Then it has the token

  @IDN-1002 @IDN-1003
  Scenario: Another unit that calls itself the same proves nothing
    Given "queen" may load the credential "token" when it runs as the unit "queen.service"
    And the unit "evil.service", which starts "queen" to load "token":
      """
      LoadCredential=token:/run/machine/store/db
      """
    When systemd starts it
    Then it is refused because the grant requires a uid or unit that this process is not

  @OPS-2002 @CHK-1024 @CHK-1025
  Scenario: What the check before the rollout allows is what systemd's service loads
    Given "app" may load the credential "db" from "/run/machine/store/db"
    And the unit "app.service", which starts "app" to load "db":
      """
      LoadCredential=db:/run/machine/store/db
      User=backup
      """
    When the release engineer checks the units without the host
    And systemd starts it
    Then nothing has to be done
    And it has the token
