package kubernetes

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

var write = flag.Bool("write", false, "write schema.txt and the expected results in testdata")

// roots are the types of the kinds that are read.
func roots() []any {
	return []any{
		corev1.Pod{},
		corev1.PodTemplate{},
		corev1.ReplicationController{},
		corev1.Secret{},
		corev1.ConfigMap{},
		corev1.ServiceAccount{},
		appsv1.Deployment{},
		appsv1.StatefulSet{},
		appsv1.DaemonSet{},
		appsv1.ReplicaSet{},
		batchv1.Job{},
		batchv1.CronJob{},
	}
}

// TestSchema: CHK-1103. The fields are those of k8s.io/api.
func TestSchema(t *testing.T) {
	r := reflector{types: map[string]map[string]string{}, from: map[string]reflect.Type{}}
	for _, root := range roots() {
		r.name(reflect.TypeOf(root))
	}
	text := r.text()
	if *write {
		if err := os.WriteFile("schema.txt", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if schemaText != text {
		t.Error("schema.txt is not what k8s.io/api says: go test ./cmd/secretcheck/internal/kubernetes -run TestSchema -args -write")
	}
	if len(r.types) < 150 || len(parseSchema()["PodSpec"]) < 40 {
		t.Errorf("%d types, of a pod %v", len(r.types), parseSchema()["PodSpec"])
	}
	if r.clash != "" {
		t.Errorf("two types are called %s", r.clash)
	}
}

// reflector writes types down.
type reflector struct {
	types map[string]map[string]string
	from  map[string]reflect.Type
	clash string
}

// opaque are types that are no mapping in JSON, and status, which nobody deploys.
var opaque = map[string]string{
	"Time": "s", "MicroTime": "s", "Duration": "s", "Quantity": "q", "IntOrString": "x", "RawExtension": "*", "FieldsV1": "*",
}

func (r *reflector) name(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return r.name(t.Elem())
	case reflect.String:
		return "s"
	case reflect.Bool:
		return "b"
	case reflect.Int32:
		return "h"
	case reflect.Int64:
		return "i"
	case reflect.Float64:
		return "f"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "s" // Base64
		}
		return "[" + r.name(t.Elem())
	case reflect.Map:
		return "{" + r.name(t.Elem())
	case reflect.Struct:
	default:
		panic(t)
	}
	if short := opaque[t.Name()]; short != "" {
		return short
	}
	if was := r.from[t.Name()]; was != nil {
		if was != t {
			r.clash = t.Name()
		}
		return t.Name()
	}
	r.from[t.Name()] = t
	r.types[t.Name()] = map[string]string{}
	r.fields(t, r.types[t.Name()])
	return t.Name()
}

func (r *reflector) fields(t reflect.Type, into map[string]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name == "" && f.Anonymous, strings.Contains(options, "inline"):
			r.fields(f.Type, into)
		case name == "status" && strings.HasSuffix(f.Type.Name(), "Status"):
			into[name] = "*"
		default:
			into[name] = r.name(f.Type)
		}
	}
}

func (r *reflector) text() string {
	var lines []string
	for name, fields := range r.types {
		var words []string
		for f, kind := range fields {
			words = append(words, f+":"+kind)
		}
		slices.Sort(words)
		lines = append(lines, fmt.Sprintf("%s %s\n", name, strings.Join(words, " ")))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func newOf(root any) any { return reflect.New(reflect.TypeOf(root)).Interface() }

func nameOf(root any) string { return reflect.TypeOf(root).Name() }
