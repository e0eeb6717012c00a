package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// plane is an API server with its etcd and some controllers.
type plane struct {
	data, tmp      string // folders: what stays, and what does not
	port           int
	serverCA       *pair
	clientCA       *pair
	proxyCA        *pair
	serviceKey     string // file
	names          []string
	ignoreSigterm  time.Duration
	admin          *pair
	client         *http.Client
	children       []*exec.Cmd
	dead           chan error
	binaries       string
	adminName, org string
}

const controllers = "namespace-controller,serviceaccount-controller,root-ca-certificate-publisher-controller"

func (p *plane) spawn(program string, args ...string) {
	cmd := exec.Command(filepath.Join(p.binaries, program), args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "GOGC=50")
	must(cmd.Start())
	p.children = append(p.children, cmd)
	go func() {
		err := cmd.Wait()
		p.dead <- fmt.Errorf("%s ended: %v", program, err)
	}()
}

func (p *plane) start() {
	tmp := p.tmp + "/keys"
	must(os.MkdirAll(tmp, 0o700))
	p.dead = make(chan error, 8)
	serving := p.serverCA.server(tmp+"/serving", append(p.names, "localhost", "127.0.0.1", "kubernetes", "kubernetes.default",
		"kubernetes.default.svc", "kubernetes.default.svc.cluster.local")...)
	if p.admin == nil {
		p.admin = p.clientCA.client(p.data+"/pki/admin", p.adminName, "system:masters")
	}
	proxy := p.proxyCA.client(tmp+"/proxy", "front-proxy-client")
	must(os.WriteFile(tmp+"/admin.kubeconfig", kubeconfig("local", "admin", fmt.Sprintf("https://127.0.0.1:%d", p.port),
		p.serverCA.certPEM, p.admin), 0o600))
	const store = "http://127.0.0.1:2379"
	p.spawn("etcd", "--data-dir="+p.data+"/etcd", "--listen-client-urls="+store, "--advertise-client-urls="+store,
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=default=http://127.0.0.1:2380", "--unsafe-no-fsync", "--logger=zap", "--log-level=error")
	p.spawn("kube-apiserver", "--etcd-servers="+store, fmt.Sprintf("--secure-port=%d", p.port), "--bind-address=0.0.0.0",
		"--tls-cert-file="+serving.crt(), "--tls-private-key-file="+serving.pem(), "--client-ca-file="+p.clientCA.crt(),
		"--service-account-key-file="+p.serviceKey, "--service-account-signing-key-file="+p.serviceKey,
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local", "--authorization-mode=RBAC",
		"--service-cluster-ip-range=10.96.0.0/16", "--requestheader-client-ca-file="+p.proxyCA.crt(),
		"--requestheader-allowed-names=front-proxy-client", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group", "--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file="+proxy.crt(), "--proxy-client-key-file="+proxy.pem(), "--endpoint-reconciler-type=none",
		"--cert-dir="+tmp)
	pool := x509.NewCertPool()
	pool.AddCert(p.serverCA.cert)
	cert, err := tls.LoadX509KeyPair(p.admin.crt(), p.admin.pem())
	must(err)
	p.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: pool, Certificates: []tls.Certificate{cert}}}}
}

func (p *plane) url(path string) string { return fmt.Sprintf("https://127.0.0.1:%d%s", p.port, path) }

func (p *plane) ready() bool {
	answer, err := p.client.Get(p.url("/readyz"))
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// run goes on until the plane is told to stop or one of its programs ends. then: once it is ready.
func (p *plane) run(then func()) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	tick := time.NewTicker(100 * time.Millisecond)
	started, up := time.Now(), false
	for {
		select {
		case err := <-p.dead:
			return err
		case <-stop:
			log.Printf("told to stop")
			time.Sleep(p.ignoreSigterm)
			p.end()
			return nil
		case <-tick.C:
			if up || !p.ready() {
				continue
			}
			up = true
			tick.Reset(time.Hour)
			log.Printf("ready after %v", time.Since(started))
			p.spawn("kube-controller-manager", "--kubeconfig="+p.tmp+"/keys/admin.kubeconfig", "--leader-elect=false",
				"--service-account-private-key-file="+p.serviceKey, "--root-ca-file="+p.serverCA.crt(),
				"--controllers="+controllers, "--secure-port=0", "--cert-dir="+p.tmp+"/keys")
			if then != nil {
				go then()
			}
		}
	}
}

// The last one started is the first one ended; etcd gets time to close its files.
func (p *plane) end() {
	for i := len(p.children) - 1; i >= 0; i-- {
		_ = p.children[i].Process.Signal(syscall.SIGTERM)
		if strings.HasSuffix(p.children[i].Path, "etcd") {
			<-p.dead
		}
	}
}
