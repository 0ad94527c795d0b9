Feature: Loading a secret from a file
  A service gets its secret from a file that nobody else can read, and only where the security team granted it.
  Anything else is refused before the content is read, and the audit log says so.

  Background:
    Given the service "queen-rbee" may load what lies in its secrets folder

  @SM-LOAD-4004 @SEC-SECRET-022
  Scenario: A file that only its owner can read is loaded
    Given a token in the file "api-token" with mode 0600
    When the service loads the token from the file "api-token"
    Then it gets the token

  @SM-LOAD-4004 @SM-SEC-5004 @SEC-SECRET-020
  Scenario: A file that everyone can read is refused
    Given a token in the file "api-token" with mode 0644
    When the service loads the token from the file "api-token"
    Then the load is refused because everyone can read the file

  @SM-LOAD-4001 @SM-SEC-5004 @SEC-SECRET-021
  Scenario: A file that a group can read is refused
    Given a key in the file "seal-key" with mode 0640
    When the service loads the key from the file "seal-key"
    Then the load is refused because a group can read the file

  @SM-LOAD-4004
  Scenario: An empty file is refused
    Given an empty file "api-token" with mode 0600
    When the service loads the token from the file "api-token"
    Then the load fails because there is no secret in the file

  @SM-SEC-5005 @SEC-SECRET-024
  Scenario: A path that climbs out of the folder is refused
    Given a token in the file "../private/api-token" with mode 0600
    When the service loads the token from the file "../private/api-token"
    Then the load is refused because nothing is granted there

  @SM-LOAD-4002
  Scenario: A credential that systemd passes on is loaded
    Given systemd passes a token to the service as the credential "api_token"
    When the service loads the token from the credential "api_token"
    Then it gets the token
