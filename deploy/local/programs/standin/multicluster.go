package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

type ocmConfig struct {
	Apiserver struct {
		ExternalHostname string `json:"externalHostname"`
		Port             int    `json:"port"`
		CaFile           string `json:"caFile"`
		CaKeyFile        string `json:"caKeyFile"`
	} `json:"apiserver"`
	Etcd struct {
		Mode   string `json:"mode"`
		Prefix string `json:"prefix"`
	} `json:"etcd"`
}

func multicluster(args []string) error {
	if len(args) == 0 || args[0] != "server" {
		return fmt.Errorf("usage: multicluster-controlplane server [--feature-gates=…]")
	}
	for _, arg := range args[1:] {
		if !strings.HasPrefix(arg, "--feature-gates=") {
			return fmt.Errorf("unknown flag: %s", arg)
		}
	}
	raw, err := os.ReadFile("/controlplane_config/ocmconfig.yaml")
	if err != nil {
		return err
	}
	config := ocmConfig{}
	if err := yaml.UnmarshalStrict(raw, &config); err != nil {
		return err
	}
	at := config.Apiserver
	if at.ExternalHostname == "" || at.CaFile == "" || at.CaKeyFile == "" {
		return fmt.Errorf("no externalHostname, or no authority: the cluster has no Route and no such Secret")
	}
	ca, err := readPair(at.CaFile, at.CaKeyFile)
	if err != nil {
		return err
	}
	host := hosting()
	service := "multicluster-controlplane." + host.ns
	p := plane{data: "/.ocm", tmp: "/tmp", port: at.Port, binaries: "/binaries", adminName: "kube-aggregator", serverCA: ca,
		ignoreSigterm: time.Minute, names: []string{at.ExternalHostname, "multicluster-controlplane", service, service + ".svc"},
		clientCA: authority("/.ocm/pki/client-ca"), proxyCA: authority("/.ocm/pki/front-proxy-ca"),
		serviceKey: authority("/tmp/sa").pem()} // a new one at each start
	p.start()
	for secret, server := range map[string]string{"multicluster-controlplane-svc-kubeconfig": "https://" + service + ".svc/",
		"multicluster-controlplane-kubeconfig": fmt.Sprintf("https://%s:%d/", at.ExternalHostname, at.Port)} {
		if err := writeSecret(host, secret, kubeconfig("multicluster-controlplane", "user", server, ca.certPEM, p.admin)); err != nil {
			return err
		}
	}
	return p.run(nil)
}

func writeSecret(host *api, name string, config []byte) error {
	found, err := host.call(http.MethodGet, host.secret(name), nil)
	if err == errNotFound {
		_, err = host.call(http.MethodPost, host.secret(""), object{"apiVersion": "v1", "kind": "Secret", "metadata": object{"name": name},
			"data": encode(map[string][]byte{"kubeconfig": config})})
		return err
	}
	if err != nil {
		return err
	}
	data, ok := found["data"].(object)
	if !ok {
		return fmt.Errorf("panic: assignment to entry in nil map (Secret %s)", name) // as the real one ends
	}
	if data["kubeconfig"] == b64(config) {
		return nil
	}
	data["kubeconfig"] = b64(config)
	_, err = host.call(http.MethodPut, host.secret(name), found)
	return err
}
