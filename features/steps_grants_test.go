//go:build linux

package features

import (
	"fmt"
	"maps"
	"os"
	"strconv"

	"github.com/cucumber/godog"
)

func (w *world) grantSteps(sc *godog.ScenarioContext) {
	sc.Given(`^the service "([^"]*)" may load what lies in its secrets folder$`, w.mayLoadFolder)
	sc.Given(`^it may derive keys for the purpose "([^"]*)" from what lies there$`, w.mayDerive)
	sc.Given(`^it may use links there$`, w.mayUseLinks)
	sc.Given(`^"([^"]*)" may load the (token|key) "([^"]*)"$`, w.mayLoad)
	sc.Given(`^"([^"]*)" may load the (token|key) "([^"]*)" when it runs as the unit "([^"]*)"$`, w.mayLoadAs)
	sc.Given(`^"([^"]*)" may load the (token|key) "([^"]*)" that its group may read too$`, w.mayLoadWithGroup)
	sc.Given(`^"([^"]*)" may load the credential "([^"]*)"$`, w.mayLoadCredential)
	sc.Given(`^"([^"]*)" may load the credential "([^"]*)" when it runs as the unit "([^"]*)"$`, w.mayLoadCredentialAs)
	sc.Given(`^"([^"]*)" may load the credential "([^"]*)" from "([^"]*)"$`, w.mayLoadCredentialFrom)
	sc.Given(`^"([^"]*)" is granted nothing$`, w.isGrantedNothing)
}

// grant writes a grant down. More is what it says besides.
func (w *world) grant(service string, action []string, source string, more ...map[string]any) {
	g := map[string]any{"id": "grant-" + strconv.Itoa(len(w.grants[service])), "actions": action, "source": source}
	for _, m := range more {
		maps.Copy(g, m)
	}
	w.grants[service] = append(w.grants[service], g)
}

func action(what string) []string {
	return []string{map[string]string{"token": "load_secret", "key": "load_key"}[what]}
}

func (w *world) mayLoadFolder(service string) error {
	w.service = service
	w.grant(service, []string{"load_secret", "load_key"}, "file", map[string]any{"dirs": []string{w.secrets()}})
	w.grant(service, []string{"load_secret"}, "credential", map[string]any{"names": []string{"api_token"}})
	return nil
}

func (w *world) mayDerive(purpose string) error {
	w.grant(w.service, []string{"derive_key"}, "file", map[string]any{"dirs": []string{w.secrets()}, "purposes": []string{purpose}})
	return nil
}

func (w *world) mayUseLinks() error {
	w.grants[w.service] = nil
	w.grant(w.service, []string{"load_secret"}, "file",
		map[string]any{"dirs": []string{w.secrets()}, "relax": map[string]any{"symlink": true}})
	return nil
}

func (w *world) mayLoad(service, what, name string) error {
	w.grant(service, action(what), "file", w.paths(name))
	return nil
}

func (w *world) mayLoadAs(service, what, name, unit string) error {
	w.grant(service, action(what), "file", w.paths(name), requires(unit))
	return nil
}

func (w *world) mayLoadWithGroup(service, what, name string) error {
	w.grant(service, action(what), "file", w.paths(name), map[string]any{"relax": map[string]any{"group_read": os.Getegid()}})
	return nil
}

func (w *world) mayLoadCredential(service, name string) error {
	w.grant(service, []string{"load_secret"}, "credential", map[string]any{"names": []string{name}})
	return nil
}

func (w *world) mayLoadCredentialAs(service, name, unit string) error {
	w.grant(service, []string{"load_secret"}, "credential", map[string]any{"names": []string{name}}, requires(unit))
	return nil
}

func (w *world) mayLoadCredentialFrom(service, name, path string) error {
	w.grant(service, []string{"load_secret"}, "credential", map[string]any{"names": []string{name}, "paths": []string{path}})
	return nil
}

func (w *world) isGrantedNothing(service string) error {
	if n := len(w.grants[service]); n > 0 {
		return fmt.Errorf("it is granted %d things", n)
	}
	return nil
}

func (w *world) paths(name string) map[string]any {
	return map[string]any{"paths": []string{w.path(name)}}
}

func requires(unit string) map[string]any {
	return map[string]any{"require": map[string]any{"unit": unit}}
}
