package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// pair is a certificate and its key in files <base>.crt and <base>.key.
type pair struct {
	base    string
	cert    *x509.Certificate
	key     crypto.Signer
	certPEM []byte
}

func (p *pair) crt() string { return p.base + ".crt" }
func (p *pair) pem() string { return p.base + ".key" }

func (p *pair) keyPEM() []byte {
	text, err := os.ReadFile(p.pem())
	must(err)
	return text
}

func template(name string, groups ...string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	must(err)
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: groups},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment}
}

func write(base string, cert, parent *x509.Certificate, signer crypto.Signer) *pair {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	if signer == nil {
		parent, signer = cert, key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key.Public(), signer)
	must(err)
	raw, err := x509.MarshalECPrivateKey(key)
	must(err)
	must(os.MkdirAll(filepath.Dir(base), 0o700))
	must(os.WriteFile(base+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(os.WriteFile(base+".key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw}), 0o600))
	made, err := readPair(base+".crt", base+".key")
	must(err)
	return made
}

// readPair takes files of any name; base is only right for those of ours.
func readPair(crt, key string) (*pair, error) {
	certText, err := os.ReadFile(crt)
	if err != nil {
		return nil, err
	}
	keyText, err := os.ReadFile(key)
	if err != nil {
		return nil, err
	}
	certBlock, _ := pem.Decode(certText)
	keyBlock, _ := pem.Decode(keyText)
	if certBlock == nil || keyBlock == nil {
		return nil, fmt.Errorf("%s or %s is no PEM", crt, key)
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, err
	}
	signer, err := parseKey(keyBlock.Bytes)
	if err != nil {
		return nil, err
	}
	return &pair{base: crt[:len(crt)-len(filepath.Ext(crt))], cert: cert, key: signer, certPEM: certText}, nil
}

func parseKey(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("a key that cannot sign")
	}
	return signer, nil
}

// authority is the one in base.crt and base.key, made where it is not there.
func authority(base string) *pair {
	if found, err := readPair(base+".crt", base+".key"); err == nil {
		return found
	}
	cert := template("ca")
	cert.IsCA, cert.BasicConstraintsValid = true, true
	cert.KeyUsage |= x509.KeyUsageCertSign
	return write(base, cert, nil, nil)
}

func (p *pair) server(base string, names ...string) *pair {
	cert := template("kube-apiserver")
	cert.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			cert.IPAddresses = append(cert.IPAddresses, ip)
		} else {
			cert.DNSNames = append(cert.DNSNames, name)
		}
	}
	return write(base, cert, p.cert, p.key)
}

// client keeps one that is there and was signed by the same authority: users have it.
func (p *pair) client(base, name string, groups ...string) *pair {
	if found, err := readPair(base+".crt", base+".key"); err == nil && found.cert.CheckSignatureFrom(p.cert) == nil {
		return found
	}
	cert := template(name, groups...)
	cert.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return write(base, cert, p.cert, p.key)
}

func b64(text []byte) string { return base64.StdEncoding.EncodeToString(text) }

// kubeconfig with one of everything, called name.
func kubeconfig(name, user, server string, ca []byte, client *pair) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: %[1]s
  cluster:
    certificate-authority-data: %[3]s
    server: %[4]s
contexts:
- name: %[1]s
  context:
    cluster: %[1]s
    user: %[2]s
current-context: %[1]s
users:
- name: %[2]s
  user:
    client-certificate-data: %[5]s
    client-key-data: %[6]s
`, name, user, b64(ca), server, b64(client.certPEM), b64(client.keyPEM()))
}
