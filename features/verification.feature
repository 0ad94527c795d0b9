Feature: Checking a token that a caller presents
  A service compares what a caller presents with the token that it has loaded. The time that this takes tells the caller
  nothing: it is measured, over a hundred thousand guesses of each kind, beside a comparison that gives itself away.

  Background:
    Given the service "queen-rbee" may load what lies in its secrets folder
    And the service has loaded a token

  @SM-TYPE-3002 @SEC-SECRET-032
  Scenario: The token is accepted
    When a caller presents the token
    Then the caller is let in

  @SM-TYPE-3002 @SEC-SECRET-030
  Scenario: Another token is turned away
    When a caller presents another token
    Then the caller is turned away

  @SM-SEC-5003 @SEC-SECRET-033
  Scenario: A token of another length is turned away, and the time does not tell the length
    When a caller presents the token and one more character
    Then the caller is turned away
    And the time that it takes does not tell the length of the token

  @SM-SEC-5003 @SEC-SECRET-031
  Scenario: A difference at the beginning is turned away, and the time does not tell where it is
    When a caller presents the token with its first character changed
    Then the caller is turned away
    And the time that it takes is that of a guess with the last character wrong

  @SM-SEC-5003 @SEC-SECRET-031 @SEC-SECRET-032
  Scenario: A difference at the end is turned away, and the time does not tell where it is
    When a caller presents the token with its last character changed
    Then the caller is turned away
    And the time that it takes is that of a guess with the first character wrong
