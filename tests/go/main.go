// Plays an agent that knows nothing of a broker: library_agent BASE_URL TOKENS.
//
// Google's own library finds its credentials by itself, in the environment. Lists mails and events until it has
// used TOKENS different tokens, in one process, and prints what it saw as one JSON object.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

// What the program saw.
type seen struct {
	Tokens  []string `json:"tokens"`
	Calls   int      `json:"calls"`
	Events  []string `json:"events"`
	Address string   `json:"address"`
	Project string   `json:"project"`
}

// noting keeps the bearer tokens that went out.
type noting struct {
	seen *seen
	next http.RoundTripper
}

func (n noting) RoundTrip(request *http.Request) (*http.Response, error) {
	token := strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer ")
	if !slices.Contains(n.seen.Tokens, token) {
		n.seen.Tokens = append(n.seen.Tokens, token)
	}
	n.seen.Calls++
	return n.next.RoundTrip(request)
}

func main() {
	log.SetFlags(0)
	wanted, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	// Wider than what the agent may do, as programs ask.
	scopes := []string{"https://mail.google.com/", "https://www.googleapis.com/auth/calendar"}
	credentials, err := google.FindDefaultCredentials(ctx, scopes...)
	if err != nil {
		log.Fatal(err)
	}
	saw := seen{Events: []string{}, Project: credentials.ProjectID}
	client := &http.Client{Transport: &oauth2.Transport{
		Source: credentials.TokenSource,
		Base:   noting{&saw, http.DefaultTransport},
	}}
	for len(saw.Tokens) < wanted {
		if err := look(client, os.Args[1], &saw); err != nil {
			log.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err := json.NewEncoder(os.Stdout).Encode(saw); err != nil {
		log.Fatal(err)
	}
}

// look asks Gmail and Calendar once.
func look(client *http.Client, base string, saw *seen) error {
	var profile struct{ EmailAddress string }
	if err := get(client, base+"/gmail/v1/users/me/profile", &profile); err != nil {
		return err
	}
	saw.Address = profile.EmailAddress
	var listed struct{ Items []struct{ Summary string } }
	if err := get(client, base+"/calendar/v3/calendars/primary/events", &listed); err != nil {
		return err
	}
	for _, event := range listed.Items {
		if !slices.Contains(saw.Events, event.Summary) {
			saw.Events = append(saw.Events, event.Summary)
		}
	}
	return nil
}

func get(client *http.Client, url string, into any) error {
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	return json.NewDecoder(answer.Body).Decode(into)
}
