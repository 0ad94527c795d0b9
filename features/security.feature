Feature: What keeps a secret secret
  A secret does not get out by printing, by an error or by what stays in memory, and nothing is read before it is certain
  what it is.

  Background:
    Given the service "queen-rbee" may load what lies in its secrets folder

  @SM-SEC-5002 @SM-TYPE-3002 @SEC-SECRET-011 @SEC-SECRET-012
  Scenario: A token is never printed
    Given a token in the file "api-token" with mode 0600
    When the service loads the token from the file "api-token"
    Then no way to print, log or encode it shows a part of it

  @SM-SEC-5001 @SM-THREAT-2001 @SVC-1006 @SEC-SECRET-015
  Scenario: A token that is not needed any more is gone from memory
    Given a token in the file "api-token" with mode 0600
    When a process loads the token from the file "api-token", keeps it, and closes it
    Then nothing of it is left in the memory of the process

  @SM-SEC-5002 @SM-TYPE-3003 @SEC-SECRET-013 @SEC-SECRET-014
  Scenario: An error holds nothing of the secret
    Given a token in the file "seal-key" with mode 0600
    When the service loads the key from the file "seal-key"
    Then the load fails because there is no key in the file
    And what is told about the failure holds nothing of what is in the file

  @SM-SEC-5005 @SEC-SECRET-020 @SEC-SECRET-024
  Scenario: A path is checked before anything is read
    Given a token in the file "api-token" with mode 0600
    When the service loads a token from
      | the path                     | what is wrong with it                        |
      | SECRETS/api-token\x00.backup | a NUL byte, at which other programs cut it   |
      | secrets/api-token            | it begins nowhere                            |
      |                              | it is empty                                  |
      | SECRETS/api-token\xff        | it is not text                               |
    Then each load is refused because the path is not valid, and no file was opened

  @SM-SEC-5005 @SM-SEC-5004 @SEC-SECRET-023
  Scenario: A link is followed, and the file that it leads to is judged
    Given it may use links there
    And a token in the file "behind/public-token" with mode 0644
    And the link "api-token" to "behind/public-token"
    When the service loads the token from the file "api-token"
    Then the load is refused because everyone can read the file
