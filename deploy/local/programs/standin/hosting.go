package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const account = "/var/run/secrets/kubernetes.io/serviceaccount/"

type object = map[string]any

// api is an API server: the hosting one, or the plane's own.
type api struct {
	client *http.Client
	base   string
	token  func() string
	ns     string
}

func hosting() *api {
	ca, err := os.ReadFile(account + "ca.crt")
	must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	ns, err := os.ReadFile(account + "namespace")
	must(err)
	return &api{client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}},
		base: "https://" + net.JoinHostPort(env("KUBERNETES_SERVICE_HOST"), env("KUBERNETES_SERVICE_PORT")), ns: strings.TrimSpace(string(ns)),
		token: func() string {
			text, err := os.ReadFile(account + "token")
			must(err)
			return "Bearer " + string(text)
		}}
}

var errNotFound = errors.New("not found")

func (a *api) call(method, path string, body any) (object, error) {
	text, err := json.Marshal(body)
	must(err)
	req, err := http.NewRequest(method, a.base+path, bytes.NewReader(text))
	must(err)
	req.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	if a.token != nil {
		req.Header.Set("Authorization", a.token())
	}
	answer, err := a.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode == http.StatusNotFound {
		return nil, errNotFound
	}
	if answer.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %s: %.300s", method, path, answer.Status, got)
	}
	out := object{}
	return out, json.Unmarshal(got, &out)
}

func (a *api) secret(name string) string { return "/api/v1/namespaces/" + a.ns + "/secrets/" + name }

func encode(data map[string][]byte) object {
	out := object{}
	for key, value := range data {
		out[key] = b64(value)
	}
	return out
}

// get walks nested objects; nil where the way ends.
func get(from any, keys ...string) any {
	for _, key := range keys {
		m, ok := from.(object)
		if !ok {
			return nil
		}
		from = m[key]
	}
	return from
}

func text(from any, keys ...string) string {
	value, _ := get(from, keys...).(string)
	return value
}
