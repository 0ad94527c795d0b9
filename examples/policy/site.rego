# What this site demands beyond the default rules. A reason of severity "error" refuses, whatever the grants say; the
# default rules come with the tools and are not repeated here.
package secrets.load

# Variables are for the move away from them, and that is over in production: they show in process listings.
site_reasons contains {
	"code": "environment_in_production",
	"message": "secrets do not come from the environment in production",
	"severity": "error",
	"fix": "use LoadCredential= in the unit, or a file of mode 0600",
} if {
	input.resource.source == "env"
	input.context.environment == "production"
}
