// Registers the driver whose socket is named, as the kubelet does with what it finds in its folder: with its connections
// (pkg/kubelet/pluginmanager/operationexecutor and pkg/volume/csi of Kubernetes 1.34), its calls and their order. Prints
// what it was told.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := register(ctx, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func register(ctx context.Context, socket string) error {
	connection, err := grpc.DialContext(ctx, socket, grpc.WithBlock(), plain(), dialer())
	if err != nil {
		return fmt.Errorf("failed to dial socket %s: %w", socket, err)
	}
	defer connection.Close()
	plugin := registration.NewRegistrationClient(connection)
	info, err := plugin.GetInfo(ctx, &registration.InfoRequest{})
	if err != nil {
		return fmt.Errorf("failed to get plugin info using RPC GetInfo at socket %s: %w", socket, err)
	}
	fmt.Println(info.Type, info.Name, info.SupportedVersions)
	node, err := nodeInfo(ctx, info.Endpoint)
	if err != nil {
		return err
	}
	fmt.Println(node.NodeId)
	status := &registration.RegistrationStatus{PluginRegistered: true}
	if _, err := plugin.NotifyRegistrationStatus(ctx, status); err != nil {
		return fmt.Errorf("failed to send registration status: %w", err)
	}
	return nil
}

func nodeInfo(ctx context.Context, endpoint string) (*csi.NodeGetInfoResponse, error) {
	connection, err := grpc.Dial(endpoint, grpc.WithAuthority("localhost"), plain(), dialer())
	if err != nil {
		return nil, fmt.Errorf("failed to dial the driver at %s: %w", endpoint, err)
	}
	defer connection.Close()
	info, err := csi.NewNodeClient(connection).NodeGetInfo(ctx, &csi.NodeGetInfoRequest{})
	if err != nil {
		return nil, fmt.Errorf("error during CSI NodeGetInfo() call: %w", err)
	}
	return info, nil
}

func plain() grpc.DialOption {
	return grpc.WithTransportCredentials(insecure.NewCredentials())
}

func dialer() grpc.DialOption {
	return grpc.WithContextDialer(func(ctx context.Context, path string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	})
}
