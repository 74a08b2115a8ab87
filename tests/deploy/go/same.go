package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// generated is what Kustomize adds to the names of ConfigMaps.
var generated = regexp.MustCompile("-config-[a-z0-9]{10}$")

// compare tells whether two files come to the same objects. Labels, selectors and annotations are each tool's own, and
// so is the Namespace: Helm's is there before.
func compare(one, other string, decoder runtime.Decoder) error {
	objects := [2]map[string]any{}
	for index, name := range []string{one, other} {
		found, err := read(name, decoder)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		objects[index] = map[string]any{}
		for _, object := range found {
			if _, is := object.(*core.Namespace); is {
				continue
			}
			plain, err := strip(object)
			if err != nil {
				return err
			}
			kind := object.GetObjectKind().GroupVersionKind().Kind
			objects[index][kind+" "+generated.ReplaceAllString(nameOf(object), "-config")] = plain
		}
	}
	var problems []error
	for name, object := range objects[0] {
		switch twin, has := objects[1][name]; {
		case !has:
			problems = append(problems, fmt.Errorf("%s is in %s alone", name, one))
		case !reflect.DeepEqual(object, twin):
			here, _ := json.MarshalIndent(object, "", " ")
			there, _ := json.MarshalIndent(twin, "", " ")
			problems = append(problems, fmt.Errorf("%s differs:\n%s\n%s", name, here, there))
		}
	}
	for name := range objects[1] {
		if _, has := objects[0][name]; !has {
			problems = append(problems, fmt.Errorf("%s is in %s alone", name, other))
		}
	}
	return errors.Join(problems...)
}

// strip makes plain values of an object, without what is a tool's own.
func strip(object runtime.Object) (any, error) {
	if configured, is := object.(*core.ConfigMap); is {
		for key, text := range configured.Data {
			configured.Data[key] = withoutComments(text)
		}
	}
	text, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	var plain any
	if err := json.Unmarshal(text, &plain); err != nil {
		return nil, err
	}
	return stripped(plain), nil
}

func stripped(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for _, name := range []string{"labels", "matchLabels", "selector", "podSelector", "annotations"} {
			delete(value, name)
		}
		for name, inner := range value {
			value[name] = stripped(inner)
		}
		return value
	case []any:
		for index, inner := range value {
			value[index] = stripped(inner)
		}
		return value
	case string:
		return generated.ReplaceAllString(value, "-config")
	default:
		return value
	}
}

func withoutComments(text string) string {
	var lines []string
	for _, line := range strings.Split(text, "\n") {
		if line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}
