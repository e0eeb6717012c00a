// Stand-ins for vCluster, k3s and OCM's multicluster-controlplane, for tests on machines without their images. Each keeps the
// real one's contract with its surroundings (arguments, files, environment, ports, what it writes into the hosting cluster) and
// has a real kube-apiserver inside, with an etcd. They refuse what the real ones refuse. They are nothing to run tenants on.
package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
)

func main() {
	log.SetFlags(log.LstdFlags | log.Lmicroseconds)
	run := map[string]func([]string) error{
		"vcluster":                  vcluster,
		"k3s":                       k3s,
		"multicluster-controlplane": multicluster,
	}[filepath.Base(os.Args[0])]
	if run == nil {
		log.Fatalf("stand-in: there is none for %q", os.Args[0])
	}
	log.Printf("this is a stand-in for %s", filepath.Base(os.Args[0]))
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

// must is for what cannot fail once the program has come so far.
func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func env(name string) string {
	value := os.Getenv(name)
	if value == "" {
		must(fmt.Errorf("environment variable %s is not set", name))
	}
	return value
}
