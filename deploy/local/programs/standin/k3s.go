package main

import (
	"fmt"
	"os"
	"strings"
)

// k3s knows the flags that the manifest gives; the real one refuses unknown flags too.
func k3s(args []string) error {
	if len(args) == 0 || args[0] != "server" {
		return fmt.Errorf("usage: k3s server [--flags]")
	}
	known := map[string]bool{"data-dir": true, "disable-agent": true, "disable": true, "disable-cloud-controller": true,
		"disable-helm-controller": true, "disable-network-policy": true, "egress-selector-mode": true, "flannel-backend": true,
		"kube-apiserver-arg": true, "write-kubeconfig": true, "tls-san": true}
	flags := map[string][]string{}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if !strings.HasPrefix(arg, "--") || !known[name] {
			return fmt.Errorf("flag provided but not defined: %s", arg)
		}
		flags[name] = append(flags[name], value)
	}
	if _, ok := flags["disable-agent"]; !ok && os.Getuid() != 0 {
		return fmt.Errorf("server must run as root unless --disable-agent is specified")
	}
	if !strings.Contains(strings.Join(flags["kube-apiserver-arg"], " "), "anonymous-auth=true") {
		return fmt.Errorf("stand-in: probes need anonymous-auth=true")
	}
	token, err := os.ReadFile(env("K3S_TOKEN_FILE"))
	if err != nil || len(strings.TrimSpace(string(token))) == 0 {
		return fmt.Errorf("no token: %v", err)
	}
	server := flags["data-dir"][0] + "/server"
	tls := server + "/tls/"
	// k3s writes beside the files that it finds.
	must(os.WriteFile(tls+"client-ca.nochain.crt", nil, 0o600))
	must(os.WriteFile(flags["write-kubeconfig"][0], nil, 0o600))
	p := plane{data: server, tmp: "/tmp", port: 6443, binaries: "/binaries", adminName: "system:admin", names: flags["tls-san"],
		serverCA: authority(tls + "server-ca"), clientCA: authority(tls + "client-ca"), proxyCA: authority(tls + "request-header-ca"),
		serviceKey: tls + "service.key"}
	p.admin = p.clientCA.client(tls+"client-admin", p.adminName, "system:masters")
	p.start()
	return p.run(nil)
}
