// Reads Kubernetes manifests as the API's own types, and fails at what the API would not take: an unknown field, a wrong
// type, a kind that is none. Then looks at what no type can say: volumes, ports, selectors, and names that have to meet.
//
//	manifests FILE...        YAML documents, checked and listed; - for standard input
//	manifests data KEY FILE  what the ConfigMaps of a file hold under a key
//	manifests same A B       whether two files come to the same objects, but for names of releases
//	manifests compose FILE   a compose file, by the Compose specification instead: checked, and its services listed
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

func main() {
	all := runtime.NewScheme()
	if err := errors.Join(scheme.AddToScheme(all), monitoring.AddToScheme(all)); err != nil {
		fail(err)
	}
	decoder := serializer.NewCodecFactory(all, serializer.EnableStrict).UniversalDeserializer()
	arguments := os.Args[1:]
	var err error
	switch {
	case len(arguments) == 3 && arguments[0] == "data":
		err = printData(arguments[1], arguments[2], decoder)
	case len(arguments) == 3 && arguments[0] == "same":
		err = compare(arguments[1], arguments[2], decoder)
	case len(arguments) == 2 && arguments[0] == "compose":
		err = printCompose(arguments[1])
	case len(arguments) > 0:
		err = list(arguments, decoder)
	default:
		err = errors.New("name the files to read")
	}
	if err != nil {
		fail(err)
	}
}

// list checks files, and prints what is in them.
func list(names []string, decoder runtime.Decoder) error {
	var problems []error
	for _, name := range names {
		objects, err := read(name, decoder)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		}
		for _, problem := range check(objects) {
			problems = append(problems, fmt.Errorf("%s: %w", name, problem))
		}
		for _, object := range objects {
			kind := object.GetObjectKind().GroupVersionKind()
			fmt.Printf("%s %s %s\n", kind.GroupVersion(), kind.Kind, nameOf(object))
		}
	}
	return errors.Join(problems...)
}

// printData prints what ConfigMaps hold under a key.
func printData(key, name string, decoder runtime.Decoder) error {
	objects, err := read(name, decoder)
	if err != nil {
		return err
	}
	for _, object := range objects {
		if configured, is := object.(*core.ConfigMap); is {
			if text, has := configured.Data[key]; has {
				fmt.Print(text)
				return nil
			}
		}
	}
	return fmt.Errorf("%s: no ConfigMap has %s", name, key)
}

// read decodes every document of a file.
func read(name string, decoder runtime.Decoder) ([]runtime.Object, error) {
	file := os.Stdin
	if name != "-" {
		opened, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer opened.Close()
		file = opened
	}
	var objects []runtime.Object
	var problems []error
	documents := yaml.NewDocumentDecoder(file)
	for number := 1; ; number++ {
		text := make([]byte, 1<<20)
		length, err := documents.Read(text)
		if errors.Is(err, io.EOF) {
			return objects, errors.Join(problems...)
		}
		if err != nil {
			return objects, errors.Join(append(problems, err)...)
		}
		if blank(text[:length]) {
			continue
		}
		object, _, err := decoder.Decode(text[:length], nil, nil)
		if err != nil {
			problems = append(problems, fmt.Errorf("document %d: %w", number, err))
			continue
		}
		objects = append(objects, object)
	}
}

// blank tells whether there is nothing but comments.
func blank(text []byte) bool {
	comment := false
	for _, letter := range text {
		switch {
		case letter == '\n':
			comment = false
		case letter == '#':
			comment = true
		case !comment && letter != ' ' && letter != '-' && letter != '\r':
			return false
		}
	}
	return true
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
