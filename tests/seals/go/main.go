// A KMS v2 plugin whose keys are in a PKCS#11 token (SoftHSM). The protocol, its gRPC service and its listener are those of
// k8s.io/kms; the cryptography is the token's, through crypto11. What is here chooses the key and frames a ciphertext.
//
// A key's id in the protocol is the label of an AES key in the token. The file -key-file names the one in use and is read for each
// call: another label in it is a rotation. Older keys decrypt for as long as the token holds them. While the file -down is there,
// the plugin is not healthy and does nothing.
package main

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ThalesGroup/crypto11"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/kms/pkg/service"
	"k8s.io/kms/pkg/util"
)

// Demanded back with each ciphertext.
const annotation = "framing.pkcs11.example.test"

type token struct {
	keys          *crypto11.Context
	keyFile, down string
}

func (t *token) aead(label string) (cipher.AEAD, error) {
	key, err := t.keys.FindKey(nil, []byte(label))
	if err != nil {
		return nil, err
	}
	if key == nil {
		return nil, status.Errorf(codes.NotFound, "no key %q in the token", label)
	}
	return key.NewGCM()
}

func (t *token) current() (string, error) {
	if _, err := os.Stat(t.down); err == nil {
		return "", status.Error(codes.Unavailable, "the token is away")
	}
	label, err := os.ReadFile(t.keyFile)
	return strings.TrimSpace(string(label)), err
}

func (t *token) Status(context.Context) (*service.StatusResponse, error) {
	label, err := t.current()
	if err != nil {
		return &service.StatusResponse{Version: "v2", Healthz: err.Error(), KeyID: "none"}, nil
	}
	health := "ok"
	if _, err := t.aead(label); err != nil {
		health = err.Error()
	}
	return &service.StatusResponse{Version: "v2", Healthz: health, KeyID: label}, nil
}

func (t *token) Encrypt(_ context.Context, _ string, data []byte) (*service.EncryptResponse, error) {
	label, err := t.current()
	if err != nil {
		return nil, err
	}
	gcm, err := t.aead(label)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, gcm.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return &service.EncryptResponse{
		Ciphertext:  gcm.Seal(nonce, nonce, data, []byte(label)),
		KeyID:       label,
		Annotations: map[string][]byte{annotation: []byte("1")},
	}, nil
}

func (t *token) Decrypt(_ context.Context, _ string, request *service.DecryptRequest) ([]byte, error) {
	if _, err := t.current(); err != nil {
		return nil, err
	}
	if string(request.Annotations[annotation]) != "1" {
		return nil, status.Errorf(codes.InvalidArgument, "the annotation %s is missing or unknown", annotation)
	}
	gcm, err := t.aead(request.KeyID)
	if err != nil {
		return nil, err
	}
	n := gcm.NonceSize()
	if len(request.Ciphertext) < n {
		return nil, status.Error(codes.InvalidArgument, "the ciphertext is too short")
	}
	plain, err := gcm.Open(nil, request.Ciphertext[:n], request.Ciphertext[n:], []byte(request.KeyID))
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "decrypt: %v", err)
	}
	return plain, nil
}

func run() error {
	listen := flag.String("listen", "", "unix:///path of the socket")
	module := flag.String("module", "", "PKCS#11 library")
	label := flag.String("token", "kms", "label of the token")
	pin := flag.String("pin", "1234", "its PIN")
	keyFile := flag.String("key-file", "", "file that names the key in use")
	down := flag.String("down", "", "file whose presence means that the token is away")
	flag.Parse()
	address, err := util.ParseEndpoint(*listen)
	if err != nil {
		return err
	}
	keys, err := crypto11.Configure(&crypto11.Config{Path: *module, TokenLabel: *label, Pin: *pin})
	if err != nil {
		return err
	}
	return service.NewGRPCService(address, 5*time.Second, &token{keys, *keyFile, *down}).ListenAndServe()
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
