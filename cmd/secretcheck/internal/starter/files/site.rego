# What this site demands beyond the default rules, which come with the tools and are not repeated here. The default rules
# refuse whatever no grant in data.json names, and every file that others could read or change. This file can only take away:
# a reason of severity "error" refuses, whatever the grants say; "warning" and "note" are told beside an allow.
#
# The rules see facts about the request, as input. Which there are is in schemas/input.json. A name that is misspelt is an
# error of `secretcheck policy check`, with its place.
#
# METADATA
# scope: package
# schemas:
#   - input: schema.input
package secrets.load

# Production loads no secret from the environment: variables show in process listings.
site_reasons contains {
	"code": "environment_in_production",
	"message": "secrets do not come from the environment in production",
	"severity": "error",
	"fix": "use LoadCredential= in the unit, or a file of mode 0600",
} if {
	input.resource.source == "env"
	input.context.environment == "production"
}

# Files of secrets lie in one place, where backups leave them out.
site_reasons contains {
	"code": "outside_of_the_usual_place",
	"message": "secrets lie in /etc/example/secrets",
	"severity": "warning",
	"fix": "move the file to /etc/example/secrets, and its grant with it",
} if {
	input.resource.source == "file"
	not startswith(input.resource.path, "/etc/example/secrets/")
}
