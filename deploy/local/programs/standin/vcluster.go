package main

import (
	"fmt"
	"log"
	"maps"
	"net/http"
	"os"
	"time"

	"sigs.k8s.io/yaml"
)

type enabled struct {
	Enabled bool `json:"enabled"`
}

// vclusterConfig is the part of vcluster.yaml that deploy/… uses. The real program reads strictly too.
type vclusterConfig struct {
	ControlPlane struct {
		Distro struct {
			K8s struct {
				Enabled           bool    `json:"enabled"`
				APIServer         enabled `json:"apiServer"`
				ControllerManager struct {
					Enabled   bool     `json:"enabled"`
					ExtraArgs []string `json:"extraArgs"`
				} `json:"controllerManager"`
			} `json:"k8s"`
		} `json:"distro"`
		BackingStore struct {
			Database struct {
				Embedded enabled `json:"embedded"`
			} `json:"database"`
		} `json:"backingStore"`
		CoreDNS struct {
			Enabled    bool   `json:"enabled"`
			Deployment object `json:"deployment"`
			Service    object `json:"service"`
		} `json:"coredns"`
		Proxy struct {
			BindAddress string   `json:"bindAddress"`
			Port        int      `json:"port"`
			ExtraSANs   []string `json:"extraSANs"`
		} `json:"proxy"`
		StatefulSet struct {
			HighAvailability object `json:"highAvailability"`
		} `json:"statefulSet"`
	} `json:"controlPlane"`
	ExportKubeConfig struct {
		Server            string `json:"server"`
		AdditionalSecrets []struct {
			Name   string `json:"name"`
			Server string `json:"server"`
		} `json:"additionalSecrets"`
	} `json:"exportKubeConfig"`
	Networking struct {
		Advanced object `json:"advanced"`
	} `json:"networking"`
	Sync struct {
		ToHost   map[string]enabled `json:"toHost"`
		FromHost map[string]enabled `json:"fromHost"`
	} `json:"sync"`
	Experimental struct {
		SyncSettings struct {
			SetOwner bool `json:"setOwner"`
		} `json:"syncSettings"`
	} `json:"experimental"`
	Telemetry enabled `json:"telemetry"`
}

func vcluster(args []string) error {
	if len(args) != 1 || args[0] != "start" {
		return fmt.Errorf("usage: /vcluster start")
	}
	name := env("VCLUSTER_NAME")
	env("POD_NAME")
	raw, err := os.ReadFile("/var/lib/vcluster/config.yaml")
	if err != nil {
		return err
	}
	config := vclusterConfig{}
	if err := yaml.UnmarshalStrict(raw, &config); err != nil {
		return err
	}
	k8s := config.ControlPlane.Distro.K8s
	if !k8s.Enabled || !k8s.APIServer.Enabled || !k8s.ControllerManager.Enabled || !config.ControlPlane.BackingStore.Database.Embedded.Enabled {
		return fmt.Errorf("the configuration switches off what the plane needs")
	}
	host := hosting()
	owner, err := host.call(http.MethodGet, "/api/v1/namespaces/"+host.ns+"/services/"+name, nil)
	if err != nil {
		return fmt.Errorf("Service %s, called as the virtual cluster, is needed: %w", name, err)
	}
	p := plane{data: "/data", tmp: "/tmp", port: config.ControlPlane.Proxy.Port, binaries: "/binaries", adminName: "kubernetes-super-admin",
		serverCA: authority("/data/pki/ca"), names: append(config.ControlPlane.Proxy.ExtraSANs, name, name+"."+host.ns)}
	p.clientCA, p.proxyCA, p.serviceKey = p.serverCA, authority("/data/pki/front-proxy-ca"), authority("/data/pki/sa").pem()
	p.start()
	return p.run(func() {
		time.Sleep(time.Second)
		for !config.write(host, name, &p, owner) {
			time.Sleep(10 * time.Second)
		}
		syncPods(host, &api{client: p.client, base: p.url("")}, name)
	})
}

// write puts the kubeconfigs into the hosting cluster, once.
func (config *vclusterConfig) write(host *api, name string, p *plane, owner object) bool {
	secrets := map[string]string{"vc-" + name: config.ExportKubeConfig.Server}
	for _, more := range config.ExportKubeConfig.AdditionalSecrets {
		secrets[more.Name] = more.Server
	}
	for secret, server := range secrets {
		if server == "" {
			server = fmt.Sprintf("https://localhost:%d", p.port)
		}
		data := encode(map[string][]byte{"config": kubeconfig("kubernetes", "kubernetes-super-admin", server, p.serverCA.certPEM, p.admin),
			"certificate-authority": p.serverCA.certPEM, "client-certificate": p.admin.certPEM, "client-key": p.admin.keyPEM(), "token": nil})
		body := object{"data": data}
		if config.Experimental.SyncSettings.SetOwner {
			body["metadata"] = object{"ownerReferences": []object{{"apiVersion": "v1", "kind": "Service", "name": name,
				"uid": text(owner, "metadata", "uid")}}}
		}
		_, err := host.call(http.MethodGet, host.secret(secret), nil)
		if err == errNotFound {
			more := object{"apiVersion": "v1", "kind": "Secret", "metadata": object{"name": secret,
				"labels": object{"app": "vcluster", "vcluster-name": name}}}
			maps.Copy(more, body)
			_, err = host.call(http.MethodPost, host.secret(""), more)
		} else if err == nil {
			_, err = host.call(http.MethodPatch, host.secret(secret), body)
		}
		if err != nil {
			log.Printf("kubeconfig Secret %s: %v", secret, err)
			return false
		}
	}
	return true
}

// ---- pods --------------------------------------------------------------------------------------------------------------------

const managed = "vcluster.loft.sh/managed-by"

// syncPods brings the plane's pods to the hosting cluster and their status back: containers with image, command, arguments,
// environment and security, and nothing else of what the real program knows.
func syncPods(host, inside *api, name string) {
	for ; ; time.Sleep(300 * time.Millisecond) {
		if err := syncOnce(host, inside, name); err != nil {
			log.Printf("pods: %v", err)
		}
	}
}

func hostName(pod object, name string) string {
	return text(pod, "metadata", "name") + "-x-" + text(pod, "metadata", "namespace") + "-x-" + name
}

func hostPod(pod object, name string) object {
	var containers []object
	list, _ := get(pod, "spec", "containers").([]any)
	for _, c := range list {
		kept := object{}
		for _, key := range []string{"name", "image", "imagePullPolicy", "command", "args", "env", "securityContext", "resources"} {
			if value := get(c, key); value != nil {
				kept[key] = value
			}
		}
		containers = append(containers, kept)
	}
	spec := object{"containers": containers, "restartPolicy": get(pod, "spec", "restartPolicy"), "automountServiceAccountToken": false,
		"serviceAccountName": "vc-workload-" + name, "enableServiceLinks": false}
	for _, key := range []string{"securityContext", "hostNetwork", "hostPID", "hostIPC", "terminationGracePeriodSeconds"} {
		if value := get(pod, "spec", key); value != nil {
			spec[key] = value
		}
	}
	return object{"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": hostName(pod, name), "labels": object{managed: name}}, "spec": spec}
}

func syncOnce(host, inside *api, name string) error {
	pods := "/api/v1/namespaces/" + host.ns + "/pods"
	theirs, err := inside.call(http.MethodGet, "/api/v1/pods", nil)
	if err != nil {
		return err
	}
	ours, err := host.call(http.MethodGet, pods+"?labelSelector="+managed+"%3D"+name, nil)
	if err != nil {
		return err
	}
	there := map[string]object{}
	list, _ := ours["items"].([]any)
	for _, item := range list {
		there[text(item, "metadata", "name")] = item.(object)
	}
	list, _ = theirs["items"].([]any)
	for _, item := range list {
		pod := item.(object)
		at := hostName(pod, name)
		found := there[at]
		delete(there, at)
		if get(pod, "metadata", "deletionTimestamp") != nil {
			continue
		}
		path := "/api/v1/namespaces/" + text(pod, "metadata", "namespace") + "/pods/" + text(pod, "metadata", "name")
		if found == nil {
			if _, err := host.call(http.MethodPost, pods, hostPod(pod, name)); err != nil {
				log.Printf("pod %s: %v", at, err)
				_, _ = inside.call(http.MethodPatch, path+"/status", object{"status": object{"message": err.Error()}})
			}
		} else if text(found, "status", "phase") != text(pod, "status", "phase") {
			_, err = inside.call(http.MethodPatch, path+"/status", object{"status": get(found, "status")})
			if err != nil {
				log.Printf("status of pod %s: %v", at, err)
			}
		}
	}
	for at := range there {
		if _, err := host.call(http.MethodDelete, pods+"/"+at, nil); err != nil && err != errNotFound {
			log.Printf("pod %s: %v", at, err)
		}
	}
	return nil
}
