package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// printCompose reads a compose file as `docker compose` does, by the schema of the specification, and prints its
// services.
// Only the file decides: neither variables nor a .env of whoever runs this.
func printCompose(name string) error {
	options, err := cli.NewProjectOptions([]string{name}, cli.WithInterpolation(true), cli.WithResolvedPaths(true))
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	var problems []error
	for _, service := range project.ServiceNames() {
		found := project.Services[service]
		fmt.Printf("service %s %s\n", service, found.Image)
		for _, problem := range checkService(found) {
			problems = append(problems, fmt.Errorf("%s: service %s: %w", name, service, problem))
		}
	}
	return errors.Join(problems...)
}

// checkService looks at what the schema cannot say.
func checkService(service types.ServiceConfig) []error {
	var problems []error
	if build := service.Build; build != nil {
		file := build.Dockerfile
		if !filepath.IsAbs(file) {
			file = filepath.Join(build.Context, file)
		}
		if _, err := os.Stat(file); err != nil {
			problems = append(problems, fmt.Errorf("it is built of %s: %w", file, err))
		}
	}
	for _, volume := range service.Volumes {
		// A file that is mounted by itself never sees a renewal.
		base := filepath.Base(volume.Target)
		if slices.Contains([]string{"env", "access_token", "adc.json", "status.json", "broker.sock"}, base) {
			problems = append(problems, fmt.Errorf("it mounts the single file %s", volume.Target))
		}
	}
	return problems
}
