Feature: What a release engineer is told before a rollout
  secretcheck reads the units that are to be rolled out, asks the same policy as the services will, looks at the host, and
  says what would go wrong and what to do about it. It keeps and shows no secret.

  Background:
    Given "queen-rbee" may load the credential "api_token" from "/etc/llorch/secrets/api-token"
    And the unit "queen-rbee.service":
      """
      [Service]
      ExecStart=/usr/bin/queen-rbee
      LoadCredential=api_token:/etc/llorch/secrets/api-token
      """

  @CHK-1001 @CHK-1002 @CHK-1025
  Scenario: A rollout that is in order
    Given the host has the secret "/etc/llorch/secrets/api-token" with mode 0600
    When the release engineer checks the units and the host
    Then nothing has to be done
    And the check ends with code 0

  @CHK-1001 @CHK-1004 @CHK-1025 @SEC-SECRET-021
  Scenario: A secret that everyone on the host can read
    Given the host has the secret "/etc/llorch/secrets/api-token" with mode 0644
    When the release engineer checks the units and the host
    Then line 3 of "queen-rbee.service" is denied with "origin_mode_too_open"
    And what to do begins with "chmod 0600 "
    And the check ends with code 1

  @CHK-1004 @CHK-1025
  Scenario: Doing what it says is enough
    Given the host has the secret "/etc/llorch/secrets/api-token" with mode 0644
    When the release engineer checks the units and the host
    And he does what it says, and checks again
    Then nothing has to be done
    And the check ends with code 0

  @CHK-1001 @CHK-1024
  Scenario: A secret that nobody granted
    Given the unit "batch-runner.service":
      """
      [Service]
      ExecStart=/usr/bin/batch-runner
      LoadCredential=api_token:/etc/llorch/secrets/api-token
      """
    And the host has the secret "/etc/llorch/secrets/api-token" with mode 0600
    When the release engineer checks the units and the host
    Then line 3 of "batch-runner.service" is denied with "no_grant"
    And the check ends with code 1

  @CHK-1001 @CHK-1026
  Scenario: A secret that is not on the host
    When the release engineer checks the units and the host
    Then line 3 of "queen-rbee.service" is denied with "missing_source"
    And the check ends with code 1

  @CHK-1006 @SM-SEC-5005
  Scenario: A link on the host that leads to a secret of somebody else
    Given the host has the secret "/home/batch/token" with mode 0600
    And the host has the link "/etc/llorch/secrets/api-token" to "/home/batch/token"
    When the release engineer checks the units and the host
    Then line 3 of "queen-rbee.service" is denied with "origin_outside_grant"
    And the check ends with code 1

  @CHK-1001 @CHK-1026 @CHK-1027
  Scenario: What was not looked at is left open when the facts are asked for
    When the release engineer checks the units without the host, and demands facts
    Then line 3 of "queen-rbee.service" is undecided with "facts_unchecked"
    And the check ends with code 3

  @CHK-1019 @CHK-1024
  Scenario: A drop-in that asks for more
    Given the unit "queen-rbee.service.d/more.conf":
      """
      [Service]
      LoadCredential=seal_key:/etc/llorch/secrets/api-token
      """
    And the host has the secret "/etc/llorch/secrets/api-token" with mode 0600
    When the release engineer checks the units and the host
    Then line 2 of "queen-rbee.service.d/more.conf" is denied with "no_grant"
    And the check ends with code 1

  @CHK-1001 @CHK-1003 @CHK-1016 @SM-SEC-5002
  Scenario: A value that somebody wrote into a unit
    Given the unit "queen-rbee.service.d/value.conf":
      """
      [Service]
      SetCredential=api_token:fake-value-in-a-unit-0123456789
      """
    And the host has the secret "/etc/llorch/secrets/api-token" with mode 0600
    When the release engineer checks the units and the host, and takes warnings for failures
    Then line 2 of "queen-rbee.service.d/value.conf" is warned about with "inline_credential"
    And "fake-value-in-a-unit-0123456789" is shown nowhere
    And the check ends with code 2

  @CHK-1005 @CHK-1001
  Scenario: A folder without units is not a rollout in order
    Given there are no units
    When the release engineer checks the units and the host
    Then he is told that nothing was found
    And the check ends with code 4

  @CHK-1001 @CHK-1044
  Scenario: A policy that does not compile is no answer
    Given the policy has a rule that cannot be compiled
    And the host has the secret "/etc/llorch/secrets/api-token" with mode 0600
    When the release engineer checks the units and the host
    Then he is told what is wrong with the policy
    And the check ends with code 5

  @CHK-1007 @CHK-1009 @CHK-1043
  Scenario: The report for machines says the same, and names each fault for ever
    Given the host has the secret "/etc/llorch/secrets/api-token" with mode 0644
    When the release engineer checks the units and the host, with a report for machines
    And somebody adds a comment to "queen-rbee.service"
    And the release engineer checks the units and the host, with a report for machines
    Then both reports have the same one finding, a line further down
    And the check ends with code 1

  @CHK-1041
  Scenario: What a service may load can be asked
    When the release engineer asks what "queen-rbee" may load
    Then the answer names the credential "api_token" and "/etc/llorch/secrets/api-token"
    And the check ends with code 0
