# What the default rules promise, denials first. The fixtures are whole inputs as the host writes them, and every test
# says what it changes in one.
package secrets.load_test

import data.secrets.load

# ---- no grant: the only reason, and nothing about the file ----

test_a_service_without_grants_is_refused if denied(change(token_file, {"subject": {"service": "mallory"}}), ["no_grant"])

test_a_service_without_a_name_is_refused if denied(change(token_file, {"subject": {"service": ""}}), ["no_grant"])

test_without_data_nobody_is_granted_anything if {
	verdict := load.decision with input as token_file with data.secrets.services as {}
	verdict.allow == false
	codes(verdict) == ["no_grant"]
}

test_another_path_is_refused if denied(change(token_file, {"resource": {"path": "/etc/shadow"}}), ["no_grant"])

test_a_path_that_climbs_is_refused if {
	denied(change(token_dir, {"resource": {"path": "/srv/tokens/../../etc/shadow"}}), ["no_grant"])
	denied(change(token_dir, {"resource": {"path": "/srv/tokens/.."}}), ["no_grant"])
}

test_a_directory_grant_is_for_what_lies_beneath if {
	denied(change(token_dir, {"resource": {"path": "/srv/tokens"}}), ["no_grant"])
	denied(change(token_dir, {"resource": {"path": "/srv/tokens-of-others/a"}}), ["no_grant"])
}

test_another_action_is_refused if denied(change(token_file, {"action": "load_key"}), ["no_grant"])

test_another_source_is_refused if denied(change(token_file, {"resource": {"source": "env"}}), ["no_grant"])

test_another_credential_is_refused if denied(change(token_credential, {"resource": {"name": "seal_key"}}), ["no_grant"])

test_another_variable_is_refused if denied(change(token_variable, {"resource": {"name": "HOME"}}), ["no_grant"])

test_another_purpose_is_refused if denied(change(seal_key, {"resource": {"purpose": "llorch-other-v1"}}), ["no_grant"])

test_an_empty_purpose_is_refused if denied(change(seal_key, {"resource": {"purpose": ""}}), ["no_grant"])

test_no_grant_names_no_grants if {
	verdict := judge(change(token_file, {"subject": {"service": "mallory"}}))
	verdict.grants == []
	verdict.obligations == {"max_bytes": 0, "min_length": 0, "min_memory": ""}
}

test_no_grant_says_the_same_whatever_the_file_is if {
	refused := change(token_file, {"subject": {"service": "mallory"}})
	judge(refused) == judge(change(refused, {"resource": {"resolved": "", "file": unknown_file}}))
	judge(refused) == judge(change(refused, {"resource": {"file": {"mode_octal": "0644", "group_bits": 4, "uid": 7}}}))
}

# ---- the request itself ----

test_another_api_is_refused if denied(change(token_file, {"api": "v2"}), ["invalid_request"])

test_an_unknown_action_is_refused if denied(change(token_file, {"action": "print"}), ["invalid_request"])

test_an_unknown_phase_is_refused if denied(change(token_file, {"context": {"phase": "test"}}), ["invalid_request"])

test_a_service_may_not_skip_the_file if denied(change(token_file, {"resource": {"facts": "unchecked"}}), ["invalid_request"])

test_a_service_may_not_predict if denied(change(token_file, {"resource": {"facts": "predicted"}}), ["invalid_request"])

test_an_unknown_uid_is_no_uid if denied(change(token_file, {"subject": {"uid": null}}), ["invalid_request"])

test_a_uid_that_is_no_number_owns_nothing if {
	not_allowed(change(token_file, {"subject": {"uid": null}, "resource": {"file": {"writers": {"uids": [0]}}}}))
	not_allowed(change(token_file, {"subject": {"uid": null}, "resource": {"file": {"writers": {"uids": [null]}}}}))
	not_allowed(change(token_file, {"subject": {"uid": "1001"}, "resource": {"file": {"writers": {"uids": ["1001"]}}}}))
}

test_data_that_nobody_checked_grants_no_more if {
	every grant in [
		{"id": "x", "actions": ["print"], "source": "file", "paths": ["/x"]},
		{"id": "x", "actions": ["load_secret"], "source": "file", "paths": ["/a/../x", null], "names": [""]},
		{"id": "x", "actions": "load_secret", "source": "file", "paths": "/x"},
		{"id": "x", "actions": ["load_secret"], "source": "file", "names": [""]},
		{"id": "x", "actions": ["load_secret"], "paths": ["/x"]},
		{"id": "x", "source": "file", "paths": ["/x"]},
		{"id": "x", "actions": ["load_secret"], "source": "file", "paths": ["/x"], "max_bytes": null},
		{"id": "x", "actions": ["load_secret"], "source": "file", "paths": ["/x"], "min_memory": "none"},
	] {
		every difference in [
			{}, {"action": "print"}, {"resource": {"path": "/a/../x"}}, {"resource": {"path": null}},
			{"resource": {"source": null}}, {"action": null},
		] {
			request := change(change(token_file, {"resource": {"path": "/x", "resolved": "/x"}}), difference)
			not allows_with(request, {"queen-rbee": [grant]})
		}
	}
}

test_data_that_nobody_checked_answers_no_more_questions if {
	every grant, difference in {
		{"actions": ["print"], "source": "file", "paths": ["/x"], "purposes": [""]}: {"action": "print"},
		{"actions": ["load_secret"], "source": "file", "paths": ["/a/../x"]}: {"resource": {"path": "/a/../x"}},
		{"actions": ["load_secret"], "source": "file", "paths": [null]}: {"resource": {"path": null}},
		{"actions": ["load_secret"], "source": "file", "names": [""]}: {},
	} {
		request := change(change(question, {"resource": {"path": "/x"}}), difference)
		not load.may_ask with input as request with data.secrets.services as {"queen-rbee": [grant]}
	}
}

# ---- who asks: IDN-1003, IDN-1004 ----

test_a_claimed_uid_is_no_uid if denied(change(requires_uid, {"subject": {"attested": {"uid": ""}}}), ["identity_not_proven"])

test_another_uid_is_refused if denied(change(requires_uid, {"subject": {"uid": 0}}), ["identity_not_proven"])

test_a_claimed_unit_is_no_unit if {
	denied(change(requires_unit, {"subject": {"attested": {"unit": ""}}}), ["identity_not_proven"])
}

test_another_unit_is_refused if {
	every unit in ["", "evil.service", "queen-rbee", "queen-rbee.service ", "queen-rbee.service/x"] {
		denied(change(requires_unit, {"subject": {"unit": unit}}), ["identity_not_proven"])
	}
}

test_each_fact_that_is_required_counts if {
	denied(change(requires_both, {"subject": {"uid": 7}}), ["identity_not_proven"])
	denied(change(requires_both, {"subject": {"unit": "evil.service"}}), ["identity_not_proven"])
	both := judge(change(requires_both, {"subject": {"uid": 7, "unit": "evil.service"}}))
	count(both.reasons) == 2
	both.grants == ["of-both"]
}

test_who_is_not_proven_may_not_even_ask if {
	not asks(change(requires_uid, {"subject": {"attested": {"uid": ""}}}))
	not asks(change(requires_unit, {"subject": {"unit": "evil.service"}}))
	asks(requires_uid)
	asks(requires_unit)
	asks(requires_both)
}

test_who_is_not_proven_learns_nothing_of_the_file if {
	stranger := change(requires_unit, {"subject": {"unit": "evil.service"}})
	open := change(stranger, {"resource": {"file": {"group_bits": 4, "other_bits": 4}, "resolved": "/etc/shadow"}})
	judge(stranger) == judge(open)
}

test_what_is_required_must_be_said_in_its_type if {
	every subject in [
		{"uid": "1001"}, {"uid": null}, {"attested": {"uid": true}}, {"attested": {"uid": null}}, {"attested": null},
	] {
		not_allowed(change(requires_uid, {"subject": subject}))
	}
	every subject in [
		{"unit": null}, {"unit": ["queen-rbee.service"]}, {"attested": {"unit": 1}}, {"attested": {"unit": null}}, {"attested": null},
	] {
		not_allowed(change(requires_unit, {"subject": subject}))
	}
}

test_requirements_that_nobody_checked_are_not_met if {
	every require in [null, false, true, {}, [], "", "uid", ["uid"], {"uid": null}, {"unit": ""}, {"exe": "/usr/bin/queen"}, {"uid": 1001, "exe": "x"}] {
		grant := {"id": "x", "actions": ["load_secret"], "source": "file", "paths": ["/x"], "require": require}
		request := change(change(token_file, proven_subject), {"subject": {"unit": ""}, "resource": {"path": "/x", "resolved": "/x"}})
		not allows_with(request, {"queen-rbee": [grant]})
		not load.may_ask with input as request with data.secrets.services as {"queen-rbee": [grant]}
	}
}

test_nothing_is_not_equal_to_nothing if {
	nobody := change(change(question, proven_subject), {"subject": {"uid": null, "unit": null}, "resource": {"path": "/x"}})
	every require in [{"uid": null}, {"unit": null}] {
		grant := {"id": "x", "actions": ["load_secret"], "source": "file", "paths": ["/x"], "require": require}
		not load.may_ask with input as nobody with data.secrets.services as {"queen-rbee": [grant]}
	}
}

test_at_rollout_the_descriptor_may_leave_it_open if {
	at_rollout := {"context": {"phase": "rollout", "memory": ""}}
	denied(change(change(requires_uid, at_rollout), {"subject": {"uid": -1, "attested": {"uid": ""}}}), ["identity_unknown"])
	denied(change(change(requires_unit, at_rollout), {"subject": {"unit": "", "attested": {"unit": ""}}}), ["identity_unknown"])
	denied(change(change(requires_unit, at_rollout), {"subject": {"unit": "evil.service"}}), ["identity_not_proven"])
	allowed(change(requires_both, at_rollout), ["of-both"])
}

test_another_grant_without_a_requirement_is_enough if {
	grants := [
		{"id": "a", "actions": ["load_secret"], "source": "file", "paths": ["/x"], "require": {"uid": 7}},
		{"id": "b", "actions": ["load_secret"], "source": "file", "paths": ["/x"]},
	]
	verdict := load.decision with input as change(token_file, {"resource": {"path": "/x", "resolved": "/x"}})
		with data.secrets.services as {"queen-rbee": grants}
	verdict.allow == true
	verdict.grants == ["b"]
}

test_who_is_proven_is_allowed if {
	allowed(requires_uid, ["of-uid"])
	allowed(requires_unit, ["of-unit"])
	allowed(requires_both, ["of-both"])
}

# ---- where the path leads ----

test_a_real_path_outside_of_the_grant_is_refused if {
	denied(change(token_file, {"resource": {"resolved": "/home/mallory/token"}}), ["outside_grant"])
	denied(change(token_dir, {"resource": {"resolved": "/srv/tokens/../token"}}), ["outside_grant"])
}

test_a_link_as_last_component_is_refused if {
	denied(change(token_dir, {"resource": {"file": {"final_symlink": true}}}), ["symlink_not_granted"])
}

# ---- the file ----

test_only_regular_files_are_read if {
	every type in ["directory", "fifo", "socket", "char_device", "block_device", "symlink", ""] {
		denied(with_file({"type": type}), ["not_regular"])
	}
}

test_a_second_link_is_refused if denied(with_file({"nlink": 2}), ["hard_linked"])

test_an_unlinked_file_is_refused if denied(with_file({"nlink": 0}), ["hard_linked"])

test_a_foreign_owner_is_refused if {
	denied(with_file({"uid": 1002, "owner_is_me": false, "owner_is_root": false}), ["foreign_owner"])
}

test_mode_0644_is_refused if denied(with_mode("0644", 4, 4), ["mode_too_open"])

test_mode_0640_is_refused if denied(with_mode("0640", 4, 0), ["mode_too_open"])

test_each_bit_for_group_or_others_is_refused if {
	every bits in [1, 2, 3, 4, 5, 6, 7] {
		denied(with_mode("0600", bits, 0), ["mode_too_open"])
		denied(with_mode("0600", 0, bits), ["mode_too_open"])
	}
}

test_an_extended_acl_is_refused if denied(with_file({"acl": true}), ["extended_acl"])

test_an_acl_hides_what_the_mode_says if denied(with_file({"acl": true, "group_bits": 4}), ["extended_acl"])

test_a_writer_besides_root_and_the_service_is_refused if {
	denied(with_file({"writers": {"everyone": true}}), ["writable_by_others"])
	denied(with_file({"writers": {"gids": [0]}}), ["writable_by_others"])
	denied(with_file({"writers": {"uids": [1001, 1002]}}), ["writable_by_others"])
}

test_a_large_secret_is_refused if denied(with_file({"size": 1048577}), ["too_large"])

test_a_large_key_is_refused if denied(change(key_file, {"resource": {"file": {"size": 1025}}}), ["too_large"])

test_a_negative_size_is_refused if denied(with_file({"size": -1}), ["too_large"])

test_more_than_the_grant_allows_is_refused if denied(change(strict_file, {"resource": {"file": {"size": 101}}}), ["too_large"])

test_file_systems_without_authority_are_refused if {
	every name in ["nfs", "fuse", "9p", "cifs", "unknown", ""] {
		denied(with_file({"filesystem": name}), ["filesystem_not_trusted"])
	}
}

test_weak_memory_is_refused if {
	denied(change(strict_file, {"context": {"memory": "heap"}}), ["weak_memory"])
	denied(change(strict_file, {"context": {"memory": ""}}), ["weak_memory"])
	denied(change(strict_file, {"context": {"memory": "none"}}), ["weak_memory"])
}

test_every_reason_is_listed if {
	denied(with_file({"type": "fifo", "nlink": 3, "group_bits": 6, "size": 2000000}), [
		"hard_linked", "mode_too_open", "not_regular", "too_large",
	])
}

test_a_rollout_judges_the_file_that_it_knows if {
	every facts in ["observed", "predicted"] {
		rolled := {"context": {"phase": "rollout"}, "resource": {"facts": facts}}
		denied(change(with_mode("0644", 4, 4), rolled), ["mode_too_open"])
		denied(change(with_credential({"type": "fifo"}), rolled), ["not_regular"])
		allowed(change(token_file, rolled), ["token-file"])
	}
}

# ---- credentials ----

test_a_reader_besides_root_and_the_service_is_refused if {
	denied(with_credential({"readers": {"everyone": true}}), ["readable_by_others"])
	denied(with_credential({"readers": {"gids": [0]}}), ["readable_by_others"])
	denied(with_credential({"readers": {"uids": [0, 1001, 1002]}}), ["readable_by_others"])
}

test_a_credential_is_a_file_like_others if {
	denied(with_credential({"type": "fifo"}), ["not_regular"])
	denied(with_credential({"nlink": 2}), ["hard_linked"])
	denied(with_credential({"owner_is_root": false}), ["foreign_owner"])
	denied(with_credential({"writers": {"uids": [5]}}), ["writable_by_others"])
	denied(with_credential({"size": 1048577}), ["too_large"])
	denied(with_credential({"final_symlink": true}), ["symlink_not_granted"])
	denied(with_credential({"filesystem": "fuse"}), ["filesystem_not_trusted"])
}

test_a_credential_in_a_granted_place_is_still_a_credential if {
	request := with_credential({"acl": false, "group_bits": 0, "readers": {"everyone": true}})
	denied(change(request, {"resource": {"resolved": "/etc/llorch/secrets/api-token"}}), ["readable_by_others"])
	request2 := change(token_credential, {"resource": {"name": "seal_key", "path": "/etc/llorch/secrets/api-token"}})
	denied(request2, ["no_grant"])
}

test_an_origin_outside_of_the_grant_is_refused if {
	denied(change(rollout, {"resource": {"origin": "/home/mallory/token"}}), ["origin_outside_grant"])
	denied(change(rollout, {"resource": {"origin": "/etc/llorch/../shadow"}}), ["origin_outside_grant"])
}

test_an_origin_is_outside_of_a_grant_without_places if {
	denied(change(rollout, {"resource": {"name": "worker_token"}}), ["origin_outside_grant"])
}

test_an_origin_is_judged_like_a_file if {
	denied(with_origin({"type": "socket"}), ["origin_not_regular"])
	denied(with_origin({"nlink": 2}), ["origin_hard_linked"])
	denied(with_origin({"owner_is_root": false}), ["origin_foreign_owner"])
	denied(with_origin({"other_bits": 4}), ["origin_mode_too_open"])
	denied(with_origin({"acl": true}), ["origin_extended_acl"])
	denied(with_origin({"writers": {"everyone": true}}), ["origin_writable_by_others"])
	denied(with_origin({"size": 1048577}), ["origin_too_large"])
	denied(with_origin({"final_symlink": true}), ["origin_symlink_not_granted"])
	denied(with_origin({"filesystem": "nfs"}), ["origin_filesystem_not_trusted"])
}

# ---- a field that is not there, or null, denies ----

test_missing_facts_deny if {
	every field in object.keys(judged_facts) {
		not_allowed(json.remove(token_file, [concat("/", ["resource/file", field])]))
		not_allowed(change(token_file, {"resource": {"file": {field: null}}}))
	}
}

test_missing_credential_facts_deny if {
	every field in ["readers", "writers", "type", "nlink", "size", "filesystem", "final_symlink", "owner_is_root"] {
		not_allowed(json.remove(token_credential, [concat("/", ["resource/file", field])]))
		not_allowed(change(token_credential, {"resource": {"file": {field: null}}}))
	}
}

test_missing_origin_facts_deny if {
	every field in ["type", "nlink", "size", "filesystem", "final_symlink", "owner_is_root", "acl", "writers"] {
		not_allowed(json.remove(rollout, [concat("/", ["resource/origin_file", field])]))
		not_allowed(change(rollout, {"resource": {"origin_file": {field: null}}}))
	}
	not_allowed(json.remove(rollout, ["resource/origin"]))
	not_allowed(change(rollout, {"resource": {"origin": null}}))
}

test_facts_of_another_type_deny if {
	count(retyped_facts) > 50
	every retyped in retyped_facts {
		not_allowed(with_file(retyped))
	}
}

test_principals_of_another_type_deny if {
	every field in ["uids", "gids", "everyone"] {
		every other in [null, 0, "", "x", {}, {"a": 0}] {
			not_allowed(with_file({"writers": {field: other}}))
			not_allowed(with_credential({"readers": {field: other}}))
			not_allowed(change(with_credential({"readers": {field: other}}), {"resource": {"name": "public"}}))
		}
	}
}

test_a_relaxed_fact_of_another_type_denies if {
	not_allowed(relaxed("link", {"final_symlink": null}))
	not_allowed(relaxed("link", {"final_symlink": "true"}))
	not_allowed(relaxed("nfs", {"filesystem": null}))
	not_allowed(relaxed("group", {"gid": null, "group_bits": 4}))
	not_allowed(relaxed("owner", {"uid": null, "owner_is_me": false}))
	not_allowed(relaxed("owner", {"uid": "1000", "owner_is_me": false}))
	not_allowed(relaxed("world", {"group_bits": null}))
	not_allowed(relaxed("world", {"other_bits": "4"}))
}

test_missing_context_denies if {
	every field in ["context", "context/phase", "subject", "subject/service", "subject/uid", "api", "action", "resource"] {
		not_allowed(json.remove(token_file, [field]))
		not_allowed(json.remove(rollout, [field]))
	}
}

test_a_refusal_can_always_be_explained if {
	every path in ["subject", "resource/file", "resource/resolved", "context/memory", "resource/origin_file"] {
		count(judge(json.remove(change(rollout, {"resource": {"origin": "/x"}}), [path])).reasons) > 0
	}
}

# ---- may_ask ----

test_may_ask_is_false_without_a_grant if {
	not asks(change(question, {"subject": {"service": "mallory"}}))
	not asks(change(question, {"action": "load_key"}))
	not asks(change(question, {"resource": {"path": "/etc/shadow"}}))
	not asks(change(question, {"resource": {"path": "/srv/tokens/../x"}}))
	not asks(change(question, {"resource": {"source": "env"}}))
}

test_may_ask_is_false_for_a_malformed_question if {
	not asks({})
	not asks(change(question, {"api": "v0"}))
	not asks(json.remove(question, ["subject/service"]))
	not asks(change(question, {"subject": {"service": null}}))
}

test_may_ask_is_defined_when_it_is_false if {
	load.may_ask == false with input as {} with data.secrets.services as services
}

test_may_ask_needs_the_reference_alone if asks(question)

test_may_ask_knows_the_purpose if {
	asks(change(question, {
		"action": "derive_key",
		"resource": {"source": "credential", "name": "worker_token", "path": "", "purpose": "llorch-seal-key-v1"},
	}))
	not asks(change(question, {
		"action": "derive_key",
		"resource": {"source": "credential", "name": "worker_token", "path": "", "purpose": "other"},
	}))
}

# ---- what is allowed ----

test_a_private_file_is_allowed if allowed(token_file, ["token-file"])

test_a_file_of_root_is_allowed if {
	allowed(with_file({"uid": 0, "owner_is_root": true, "owner_is_me": false, "writers": {"uids": [0]}}), ["token-file"])
}

test_a_file_beneath_a_directory_is_allowed if allowed(token_dir, ["tokens-dir"])

test_a_credential_of_systemd_is_allowed if allowed(token_credential, ["token-credential"])

test_a_derivation_with_its_label_is_allowed if allowed(seal_key, ["seal-key"])

test_a_key_of_1_kib_is_allowed if allowed(change(key_file, {"resource": {"file": {"size": 1024}}}), ["key-file"])

test_a_secret_of_1_mib_is_allowed if allowed(with_file({"size": 1048576}), ["token-file"])

test_a_good_origin_is_allowed if allowed(rollout, ["token-credential"])

test_an_origin_of_which_nothing_is_known_is_not_judged if {
	allowed(change(rollout, {"resource": {"origin_file": unknown_file}}), ["token-credential"])
}

test_an_origin_that_is_no_path_is_not_judged if {
	allowed(change(rollout, {"resource": {"origin": "llorch/tokens/api", "origin_file": unknown_file}}), ["token-credential"])
	allowed(change(rollout, {"resource": {"origin": "", "origin_file": unknown_file}}), ["token-credential"])
}

test_a_service_does_not_see_the_origin if {
	allowed(change(token_credential, {"resource": {"origin": "/x", "origin_file": {"type": "fifo"}}}), ["token-credential"])
}

test_a_rollout_may_leave_the_file_out if {
	unchecked := {"context": {"phase": "rollout"}, "resource": {"facts": "unchecked", "resolved": "", "file": unknown_file}}
	allowed(change(token_file, unchecked), ["token-file"])
	denied(change(change(token_file, unchecked), {"resource": {"path": "/etc/shadow"}}), ["no_grant"])
	denied(change(change(rollout, unchecked), {"resource": {"origin": "/x"}}), ["origin_outside_grant"])
}

test_a_rollout_does_not_know_the_memory if {
	allowed(change(strict_file, {"context": {"phase": "rollout", "memory": ""}}), ["strict-file"])
	denied(change(strict_file, {"context": {"phase": "rollout", "memory": "heap"}}), ["weak_memory"])
}

test_a_variable_is_allowed_with_a_warning if {
	verdict := judge(token_variable)
	verdict.allow
	[[reason.code, reason.severity] | some reason in verdict.reasons] == [["environment_source", "warning"]]
}

test_local_file_systems_are_trusted if {
	every name in [
		"ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "ramfs", "overlayfs", "squashfs", "erofs", "bcachefs",
	] {
		allowed(with_file({"filesystem": name}), ["token-file"])
	}
}

test_only_a_credential_has_an_origin if {
	strange := {"context": {"phase": "rollout"}, "resource": {"origin": "/x", "origin_file": {"type": "fifo"}}}
	allowed(change(token_file, strange), ["token-file"])
	judge(change(token_variable, strange)).allow
}

# ---- relax: one thing at a time ----

test_group_read_is_for_that_group_and_for_reading if {
	allowed(relaxed("group", {"gid": 990, "group_bits": 4}), ["group"])
	allowed(relaxed("group", {"gid": 990}), ["group"])
	denied(relaxed("group", {"gid": 991, "group_bits": 4}), ["mode_too_open"])
	denied(relaxed("group", {"gid": 990, "group_bits": 6}), ["mode_too_open"])
	denied(relaxed("group", {"gid": 990, "group_bits": 4, "other_bits": 4}), ["mode_too_open"])
}

test_an_owner_is_for_that_owner_alone if {
	allowed(relaxed("owner", {"uid": 1000, "owner_is_me": false, "writers": {"uids": [0, 1000]}}), ["owner"])
	allowed(relaxed("owner", {}), ["owner"])
	denied(relaxed("owner", {"uid": 1002, "owner_is_me": false, "writers": {"uids": [1000]}}), ["foreign_owner"])
	denied(relaxed("owner", {"uid": 1000, "owner_is_me": false, "writers": {"uids": [1000, 1002]}}), ["writable_by_others"])
	denied(relaxed("owner", {"uid": 1000, "owner_is_me": false, "writers": {"gids": [1000]}}), ["writable_by_others"])
	denied(relaxed("owner", {"uid": 1000, "owner_is_me": false, "writers": {"everyone": true}}), ["writable_by_others"])
	denied(relaxed("owner", {"uid": 1000, "owner_is_me": false, "other_bits": 4}), ["mode_too_open"])
	denied(relaxed("owner", {"uid": 1000, "owner_is_me": false, "acl": true}), ["extended_acl"])
}

test_an_owner_does_not_make_what_a_credential_is_copied_from_trusted if {
	relaxed_grants := {"queen-rbee": [{
		"id": "x", "actions": ["load_secret"], "source": "credential", "names": ["api_token"],
		"paths": ["/etc/llorch/secrets/api-token"], "relax": {"owner": 1000},
	}]}
	allows_with(rollout, relaxed_grants)
	not allows_with(with_origin({"uid": 1000, "owner_is_root": false}), relaxed_grants)
	not allows_with(with_origin({"writers": {"uids": [0, 1000]}}), relaxed_grants)
	not allows_with(with_credential({"readers": {"uids": [0, 1001, 1000]}}), relaxed_grants)
}

test_world_read_is_for_reading if {
	allowed(relaxed("world", {"group_bits": 4, "other_bits": 4}), ["world"])
	denied(relaxed("world", {"group_bits": 6, "other_bits": 4}), ["mode_too_open"])
	denied(relaxed("world", {"group_bits": 4, "other_bits": 5}), ["mode_too_open"])
	denied(relaxed("world", {"other_bits": 4, "writers": {"everyone": true}}), ["writable_by_others"])
}

test_symlink_is_for_the_last_component if {
	allowed(relaxed("link", {"final_symlink": true}), ["link"])
	denied(change(relaxed("link", {"final_symlink": true}), {"resource": {"resolved": "/elsewhere"}}), ["outside_grant"])
	denied(relaxed("link", {"final_symlink": true, "group_bits": 4}), ["mode_too_open"])
}

test_filesystem_is_for_that_one if {
	allowed(relaxed("nfs", {"filesystem": "nfs"}), ["nfs"])
	denied(relaxed("nfs", {"filesystem": "fuse"}), ["filesystem_not_trusted"])
}

test_a_credential_may_be_relaxed if {
	read_by := {"readers": {"gids": [990]}}
	allowed(change(with_credential(read_by), {"resource": {"name": "shared"}}), ["shared"])
	denied(change(with_credential({"readers": {"gids": [991]}}), {"resource": {"name": "shared"}}), ["readable_by_others"])
	denied(change(with_credential({"readers": {"gids": [990, 991]}}), {"resource": {"name": "shared"}}), ["readable_by_others"])
	allowed(change(with_credential({"readers": {"everyone": true}}), {"resource": {"name": "public"}}), ["public"])
}

# ---- several grants, and obligations ----

test_one_accepting_grant_is_enough if {
	both := relaxed("twice", {"group_bits": 4, "gid": 990})
	allowed(both, ["twice-relaxed"])
	denied(relaxed("twice", {"group_bits": 4, "gid": 991}), ["mode_too_open"])
	judge(relaxed("twice", {"group_bits": 4, "gid": 991})).grants == ["twice-strict", "twice-relaxed"]
}

test_obligations_are_the_hard_limits_at_least if {
	judge(token_file).obligations == {"max_bytes": 1048576, "min_length": 0, "min_memory": ""}
	judge(key_file).obligations == {"max_bytes": 1024, "min_length": 0, "min_memory": ""}
}

test_obligations_are_those_of_the_grant if {
	judge(strict_file).obligations == {"max_bytes": 100, "min_length": 32, "min_memory": "locked"}
}

test_obligations_are_the_strictest_of_all_that_accept if {
	verdict := judge(relaxed("twice", {}))
	verdict.grants == ["twice-strict", "twice-relaxed"]
	verdict.obligations == {"max_bytes": 500, "min_length": 16, "min_memory": "memfd_secret"}
}

test_a_grant_cannot_raise_the_limit_of_keys if {
	judge(relaxed("big-key", {})).obligations.max_bytes == 1048576
	judge(change(relaxed("big-key", {}), {"action": "load_key"})).obligations.max_bytes == 1024
}

# ---- a site's own reasons ----

test_a_site_can_deny if {
	reason := {"code": "site_freeze", "message": "no rollout in December", "severity": "error", "fix": "wait"}
	verdict := load.decision with input as token_file
		with data.secrets.services as services
		with data.secrets.load.site_reasons as {reason}
	verdict.allow == false
	verdict.reasons == [reason]
}

test_a_site_reason_without_a_severity_denies if {
	every reason in [{}, {"severity": null}, {"severity": "harmless"}, {"severity": "Warning"}, "warning", null] {
		verdict := load.decision with input as token_file
			with data.secrets.services as services
			with data.secrets.load.site_reasons as {reason}
		verdict.allow == false
	}
}

test_a_site_can_warn if {
	every severity in ["warning", "note"] {
		reason := {"code": "site_note", "message": "m", "severity": severity, "fix": "f"}
		verdict := load.decision with input as token_file
			with data.secrets.services as services
			with data.secrets.load.site_reasons as {reason}
		verdict.allow == true
		verdict.reasons == [reason]
	}
}

test_a_site_adds_to_our_reasons if {
	reason := {"code": "site_freeze", "message": "m", "severity": "error", "fix": "f"}
	refused := change(with_mode("0644", 4, 4), {})
	verdict := load.decision with input as refused
		with data.secrets.services as services
		with data.secrets.load.site_reasons as {reason}
	codes(verdict) == ["mode_too_open", "site_freeze"]
}

# ---- words ----

test_the_fix_can_be_pasted_into_a_shell if {
	fix_of(change(with_mode("0644", 4, 4), {"resource": {"resolved": "/etc/llorch/it's"}}), "mode_too_open") == concat("", [
		`chmod 0600 '/etc/llorch/it'\''s' # in a container: mount it with mode 0400, or add "world_read": true`,
		` to relax of grant "token-file"`,
	])
	fix_of(with_file({"owner_is_me": false, "uid": 7}), "foreign_owner") == concat("", [
		`chown 1001 '/etc/llorch/secrets/api-token' # in a container: mount one of root's or the service's own,`,
		` or add "owner": 7 to relax of grant "token-file"`,
	])
}

test_a_file_of_root_is_handed_over_when_it_is_closed if {
	of_root := change(with_mode("0644", 4, 4), {"resource": {"file": {"uid": 0, "owner_is_root": true, "owner_is_me": false}}})
	path := "'/etc/llorch/secrets/api-token'"
	startswith(fix_of(of_root, "mode_too_open"), concat("", ["chmod 0600 ", path, " && chown 1001 ", path, " #"]))
	fix_of(with_origin({"other_bits": 4}), "origin_mode_too_open") == concat("", ["chmod 0600 ", path])
}

test_the_message_has_the_fact if {
	reason := judge(with_mode("0644", 4, 4)).reasons[0]
	reason.message == "mode 0644 gives group or others access to the file"
}

test_who_has_no_number_is_called_so if {
	reason := judge(with_file({"writers": {"uids": [0, 4294967295, 7]}})).reasons[0]
	contains(reason.message, ": a user without a number in this user namespace")
	endswith(reason.message, ", uid 7")
}

test_a_command_never_has_half_a_path if {
	long := concat("", ["/", concat("/", [word | some _ in numbers.range(1, 30); word := "directory"])])
	fix := fix_of(change(with_mode("0644", 4, 4), {"resource": {"resolved": long}}), "mode_too_open")
	startswith(fix, "chmod 0600 THE_PATH #")
}

test_the_fix_names_the_grant_for_what_a_platform_makes if {
	endswith(fix_of(with_mode("0444", 4, 4), "mode_too_open"), `or add "world_read": true to relax of grant "token-file"`)
	group := change(with_mode("0440", 4, 0), {"resource": {"file": {"gid": 990}}})
	endswith(fix_of(group, "mode_too_open"), `or add "group_read": 990 to relax of grant "token-file"`)
	owner := with_file({"uid": 1000, "owner_is_me": false, "writers": {"uids": [0, 1000]}})
	endswith(fix_of(owner, "foreign_owner"), `or add "owner": 1000 to relax of grant "token-file"`)
	endswith(fix_of(owner, "writable_by_others"), `or add "owner": 1000 to relax of grant "token-file"`)
}

test_the_fix_names_no_grant_that_would_not_do if {
	every bits in [1, 2, 3, 5, 6, 7] {
		not contains(fix_of(with_mode("0600", bits, 0), "mode_too_open"), "relax")
		not contains(fix_of(with_mode("0600", bits, 4), "mode_too_open"), "relax")
		not contains(fix_of(with_mode("0600", 4, bits), "mode_too_open"), "relax")
	}
	not contains(fix_of(with_file({"uid": 7, "owner_is_me": false, "writers": {"uids": [7, 8]}}), "foreign_owner"), "relax")
	not contains(fix_of(with_file({"uid": 7, "owner_is_me": false, "writers": {"gids": [7]}}), "foreign_owner"), "relax")
	not contains(fix_of(with_file({"writers": {"uids": [0, 1001, 7]}}), "writable_by_others"), "relax")
	every uid in [-1, 0, 4294967295] {
		not contains(fix_of(with_file({"uid": uid, "owner_is_me": false, "writers": {"uids": [uid]}}), "foreign_owner"), "relax")
	}
	not contains(fix_of(with_credential({"uid": 7, "owner_is_root": false, "writers": {"uids": [7]}}), "foreign_owner"), "relax")
	not contains(fix_of(with_origin({"other_bits": 4}), "origin_mode_too_open"), "relax")
}

test_a_volume_that_swaps_its_directory_is_granted_as_a_whole if {
	swapped := change(token_file, {"resource": {"resolved": "/etc/llorch/secrets/..2026_11_24/api-token"}})
	fix_of(swapped, "outside_grant") == `add "/etc/llorch/secrets" to dirs of grant "token-file" if the service may read it`
	plain := change(token_file, {"resource": {"resolved": "/etc/llorch/other"}})
	fix_of(plain, "outside_grant") == `add "/etc/llorch/other" to paths of grant "token-file" if the service may read it`
	root := change(token_file, {"resource": {"resolved": "/..2026_11_24/api-token"}})
	fix_of(root, "outside_grant") == `add "/..2026_11_24/api-token" to paths of grant "token-file" if the service may read it`
}

test_an_unknown_file_system_cannot_be_granted if {
	not contains(fix_of(with_file({"filesystem": "unknown"}), "filesystem_not_trusted"), "relax")
	contains(fix_of(with_file({"filesystem": "nfs"}), "filesystem_not_trusted"), `"filesystem": "nfs"`)
}
