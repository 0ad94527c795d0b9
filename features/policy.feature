Feature: The policy decides who may load what
  The security team grants each service what it needs, and signs that. Whatever is not granted is refused before anybody
  looks for it, and a policy that is not in order never takes the place of one that is.

  # Who may load what.

  @SM-PURPOSE-1001 @POL-1001 @AUD-1001
  Scenario: Each service gets what it is granted
    Given "queen-rbee" may load the token "api-token"
    And "worker-orcd" may load the key "seal-key"
    And a key in the file "seal-key" with mode 0600
    When "worker-orcd" loads the key from the file "seal-key"
    Then it gets the key

  @POL-1001 @EXP-SECURITY-8003
  Scenario: What is granted to one service is not granted to another
    Given "queen-rbee" may load the token "api-token"
    And "pool-managerd" may load the token "pool-token"
    And a token in the file "api-token" with mode 0600
    When "pool-managerd" loads the token from the file "api-token"
    Then the load is refused because nothing is granted there

  @POL-1001
  Scenario: A service that is granted nothing gets nothing
    Given "queen-rbee" may load the token "api-token"
    And "batch-runner" is granted nothing
    And a token in the file "api-token" with mode 0600
    When "batch-runner" loads the token from the file "api-token"
    Then the load is refused because nothing is granted there

  @POL-1001
  Scenario: A token that may be loaded is not a key that may be loaded
    Given "queen-rbee" may load the token "api-token"
    And a key in the file "api-token" with mode 0600
    When "queen-rbee" loads the key from the file "api-token"
    Then the load is refused because nothing is granted there

  @SM-LOAD-4003 @SEC-SECRET-044
  Scenario: A purpose that is not granted gives no key
    Given the service "worker-orcd" may load what lies in its secrets folder
    And it may derive keys for the purpose "llorch-seal-key-v1" from what lies there
    And a token in the file "worker-token" with mode 0600
    When the service derives a key for the purpose "backup-key-v1" from the file "worker-token"
    Then the load is refused because nothing is granted there

  @SEC-SECRET-024 @EXP-SECURITY-8003
  Scenario: A refusal does not tell whether the file is there
    Given "queen-rbee" may load the token "api-token"
    And a token in the file "api-token" with mode 0644
    When "pool-managerd" loads the token from the file "api-token", and from the file "no-token", which is not there
    Then both refusals are the same, and nothing was looked at

  @IDN-1003
  Scenario: The name of a service is not enough where the grant asks who it is
    Given "queen-rbee" may load the token "api-token" when it runs as the unit "queen-rbee.service"
    And a token in the file "api-token" with mode 0600
    When "queen-rbee" loads the token from the file "api-token"
    Then the load is refused because the service does not prove who it is

  # What a grant can allow beyond the rules that hold for every file.

  @SM-LOAD-4001 @SM-SEC-5004
  Scenario: A group that the grant names may read the file too
    Given "queen-rbee" may load the token "api-token" that its group may read too
    And a token in the file "api-token" with mode 0640 of its group
    When "queen-rbee" loads the token from the file "api-token"
    Then it gets the token

  @SM-LOAD-4001 @SM-SEC-5004
  Scenario: A grant for a group does not let everyone read the file
    Given "queen-rbee" may load the token "api-token" that its group may read too
    And a token in the file "api-token" with mode 0644 of its group
    When "queen-rbee" loads the token from the file "api-token"
    Then the load is refused because everyone can read the file

  @SM-SEC-5005
  Scenario: A link needs a grant that says so
    Given the service "queen-rbee" may load what lies in its secrets folder
    And a token in the file "behind/api-token" with mode 0600
    And the link "api-token" to "behind/api-token"
    When the service loads the token from the file "api-token"
    Then the load is refused because the path is a link

  @SM-SEC-5005
  Scenario: A link that is granted leads to the token
    Given the service "queen-rbee" may load what lies in its secrets folder
    And it may use links there
    And a token in the file "behind/api-token" with mode 0600
    And the link "api-token" to "behind/api-token"
    When the service loads the token from the file "api-token"
    Then it gets the token

  @SM-SEC-5005 @SM-THREAT-2001
  Scenario: A link that leads out of what is granted is refused
    Given the service "queen-rbee" may load what lies in its secrets folder
    And it may use links there
    And a token in the file "../private/api-token" with mode 0600
    And the link "api-token" to "../private/api-token"
    When the service loads the token from the file "api-token"
    Then the load is refused because the link leads to where nothing is granted

  # The policy itself.

  @POL-5009 @POL-5012
  Scenario: A new policy comes into force while the service runs
    Given "queen-rbee" may load the token "api-token"
    And revision 3 of the policy, signed by the security team, is in force
    And "queen-rbee" may load the token "new-token"
    And a token in the file "new-token" with mode 0600
    When revision 4 of the policy takes its place
    And "queen-rbee" loads the token from the file "new-token"
    Then it gets the token
    And revision 4 is in force

  @POL-5001 @POL-5002 @POL-5004 @POL-5005 @POL-5009 @POL-5010 @POL-5012 @POL-1005
  Scenario Outline: A policy that is not in order changes nothing: it <fault>
    Given "queen-rbee" may load the token "api-token"
    And revision 3 of the policy, signed by the security team, is in force
    And "queen-rbee" may load the token "new-token"
    And a token in the file "new-token" with mode 0600
    When revision 4 of the policy takes its place, but <fault>
    And "queen-rbee" loads the token from the file "new-token"
    Then the load is refused because nothing is granted there
    And revision 3 is in force, because the other one <fault>

    Examples:
      | fault                           |
      | is not signed                   |
      | was changed after it was signed |
      | is signed by somebody else      |
      | is that of another site         |
      | has already ended               |
      | is broken                       |
      | fails its own examples          |

  @POL-5004 @POL-5006
  Scenario: An old policy does not come back
    Given "queen-rbee" may load the token "new-token"
    And revision 2 of the policy was signed and kept by somebody
    And "queen-rbee" may load the token "api-token"
    And revision 3 of the policy, signed by the security team, is in force
    And a token in the file "api-token" with mode 0600
    When revision 2 of the policy takes its place, as it was kept
    And "queen-rbee" loads the token from the file "api-token"
    Then it gets the token
    And revision 3 is in force, because the other one is older

  @POL-5006
  Scenario: An old policy does not come back with a restart either
    Given "queen-rbee" may load the token "api-token"
    And revision 2 of the policy was signed and kept by somebody
    And revision 3 of the policy, signed by the security team, is in force
    When the service is stopped, the policy replaced by the kept one, and the service started
    Then it does not start, because the policy is older

  @POL-5001
  Scenario: A service does not start with a policy that nobody signed
    Given "queen-rbee" may load the token "api-token"
    When the service is started with revision 3 of the policy, which is not signed
    Then it does not start, because the policy is not signed

  @POL-5005
  Scenario: After its end a policy lets nothing be loaded
    Given "queen-rbee" may load the token "api-token"
    And a token in the file "api-token" with mode 0600
    And revision 3 of the policy is in force, and ends in two seconds
    When "queen-rbee" loads the token from the file "api-token" after that
    Then the load fails because the policy has ended
