Feature: Deriving a key from a token
  A service derives a key for one purpose from its token, and never gets the token itself. What was sealed under such a key
  stays readable only if the same token and purpose give the same key for ever.

  Background:
    Given the service "worker-orcd" may load what lies in its secrets folder
    And it may derive keys for the purpose "llorch-seal-key-v1" from what lies there
    And it may derive keys for the purpose "llorch-seal-key-v2" from what lies there

  @SM-LOAD-4003 @SM-INTEG-6003 @SEC-SECRET-040 @SEC-SECRET-042
  Scenario: A key of 32 bytes is derived
    Given the token "fake-Wq7tR2kP9xL4vN6m-of-a-worker" in the file "worker-token" with mode 0600
    When the service derives a key for the purpose "llorch-seal-key-v1" from the file "worker-token"
    Then it gets the key "adfac72d10e560a5349cf157060e61d7ce1d69491f7ad65f72dfcb2537e1e140"

  @SM-LOAD-4003 @SEC-SECRET-043
  Scenario: The same token and purpose give the same key after a restart
    Given a token in the file "worker-token" with mode 0600
    When the service derives a key for the purpose "llorch-seal-key-v1" from the file "worker-token"
    And the service restarts
    And the service derives a key for the purpose "llorch-seal-key-v1" from the file "worker-token"
    Then both keys are the same

  @SM-LOAD-4003 @SEC-SECRET-044
  Scenario: Another purpose gives another key
    Given a token in the file "worker-token" with mode 0600
    When the service derives a key for the purpose "llorch-seal-key-v1" from the file "worker-token"
    And the service derives a key for the purpose "llorch-seal-key-v2" from the file "worker-token"
    Then what was sealed with one key does not open with the other

  @SM-LOAD-4003
  Scenario: No key is derived from an empty token
    Given an empty file "worker-token" with mode 0600
    When the service derives a key for the purpose "llorch-seal-key-v1" from the file "worker-token"
    Then the load fails because there is no secret in the file

  @SM-LOAD-4003 @SEC-SECRET-041
  Scenario: No key is derived for no purpose
    Given a token in the file "worker-token" with mode 0600
    When the service derives a key without a purpose from the file "worker-token"
    Then the derivation fails because there is no purpose
