package main

import (
	"fmt"
	"strings"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	unversioned "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// workload is what runs pods.
type workload struct {
	name     string
	selector *unversioned.LabelSelector
	template core.PodTemplateSpec
}

// check looks at what has to meet: within a pod, and between the objects of one installation.
func check(objects []runtime.Object) []error {
	var problems []error
	configured := map[string]bool{}
	var workloads []workload
	var services []*core.Service
	for _, object := range objects {
		switch object := object.(type) {
		case *core.ConfigMap:
			configured[object.Namespace+"/"+object.Name] = true
		case *core.Service:
			services = append(services, object)
		case *core.Pod:
			template := core.PodTemplateSpec{ObjectMeta: object.ObjectMeta, Spec: object.Spec}
			workloads = append(workloads, workload{"Pod " + object.Name, nil, template})
		case *apps.DaemonSet:
			workloads = append(workloads, workload{"DaemonSet " + object.Name, object.Spec.Selector, object.Spec.Template})
		case *apps.StatefulSet:
			template := object.Spec.Template
			for _, claim := range object.Spec.VolumeClaimTemplates {
				template.Spec.Volumes = append(template.Spec.Volumes, core.Volume{Name: claim.Name})
			}
			workloads = append(workloads, workload{"StatefulSet " + object.Name, object.Spec.Selector, template})
		case *apps.Deployment:
			workloads = append(workloads, workload{"Deployment " + object.Name, object.Spec.Selector, object.Spec.Template})
		case *batch.Job:
			workloads = append(workloads, workload{"Job " + object.Name, nil, object.Spec.Template})
		}
	}
	for _, found := range workloads {
		for _, problem := range found.check(configured) {
			problems = append(problems, fmt.Errorf("%s: %w", found.name, problem))
		}
	}
	for _, service := range services {
		if problem := reaches(service, workloads); problem != nil {
			problems = append(problems, fmt.Errorf("Service %s: %w", service.Name, problem))
		}
	}
	return problems
}

func (found workload) check(configured map[string]bool) []error {
	var problems []error
	say := func(format string, about ...any) { problems = append(problems, fmt.Errorf(format, about...)) }
	if found.selector != nil {
		selector, err := unversioned.LabelSelectorAsSelector(found.selector)
		if err != nil || selector.Empty() || !selector.Matches(labels.Set(found.template.Labels)) {
			say("the selector does not match the pods' own labels")
		}
	}
	spec := found.template.Spec
	used := map[string]bool{}
	volumes := map[string]core.Volume{}
	for _, volume := range spec.Volumes {
		volumes[volume.Name] = volume
		// Only where the installation brings a map of its own are there no others.
		if source := volume.ConfigMap; source != nil && len(configured) > 0 && source.Optional == nil {
			if !anywhere(configured, source.Name) {
				say("volume %s: there is no ConfigMap %s", volume.Name, source.Name)
			}
		}
	}
	containers := append(append([]core.Container{}, spec.InitContainers...), spec.Containers...)
	for _, container := range containers {
		ports := map[string]bool{}
		for _, port := range container.Ports {
			ports[port.Name] = true
		}
		for _, mount := range container.VolumeMounts {
			used[mount.Name] = true
			if _, is := volumes[mount.Name]; !is {
				say("container %s mounts %s, which is no volume", container.Name, mount.Name)
			}
			if mount.SubPath != "" {
				say("container %s mounts %s with subPath: it never changes", container.Name, mount.Name)
			}
			privileged := container.SecurityContext != nil && container.SecurityContext.Privileged != nil &&
				*container.SecurityContext.Privileged
			both := mount.MountPropagation != nil && *mount.MountPropagation == core.MountPropagationBidirectional
			if both && !privileged {
				say("container %s: Kubernetes gives Bidirectional mounts to privileged containers alone", container.Name)
			}
		}
		for kind, probe := range map[string]*core.Probe{
			"liveness": container.LivenessProbe, "readiness": container.ReadinessProbe, "startup": container.StartupProbe,
		} {
			if probe == nil || probe.HTTPGet == nil {
				continue
			}
			if name := probe.HTTPGet.Port.StrVal; name != "" && !ports[name] {
				say("container %s: the %s probe asks port %s, which is none of its own", container.Name, kind, name)
			}
		}
	}
	for name := range volumes {
		if !used[name] {
			say("volume %s is mounted nowhere", name)
		}
	}
	return problems
}

// reaches tells what keeps a service from reaching a pod.
func reaches(service *core.Service, workloads []workload) error {
	selector := labels.SelectorFromSet(service.Spec.Selector)
	for _, found := range workloads {
		if !selector.Matches(labels.Set(found.template.Labels)) {
			continue
		}
		named := map[string]bool{}
		for _, container := range found.template.Spec.Containers {
			for _, port := range container.Ports {
				named[port.Name] = true
			}
		}
		for _, port := range service.Spec.Ports {
			if name := port.TargetPort.StrVal; name != "" && !named[name] {
				return fmt.Errorf("%s has no port %s", found.name, name)
			}
		}
		return nil
	}
	return fmt.Errorf("no pod has the labels that it selects")
}

// anywhere tells whether some namespace has the map: templates say none.
func anywhere(configured map[string]bool, name string) bool {
	for known := range configured {
		if strings.HasSuffix(known, "/"+name) {
			return true
		}
	}
	return false
}

func nameOf(object runtime.Object) string {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return "?"
	}
	if accessor.GetNamespace() == "" {
		return accessor.GetName()
	}
	return accessor.GetNamespace() + "/" + accessor.GetName()
}
