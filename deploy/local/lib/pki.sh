# shellcheck shell=bash disable=SC2034,SC2154 # names are shared among the files that up and down put together
# Keys and certificates of the hosting cluster: P-256, made once per instance in a new folder that is then renamed.
# $PKI is that folder while it is being filled.

pki_ca() {
	openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/$1.key"
	openssl req -x509 -new -key "$PKI/$1.key" -subj "/CN=kubeflex-$KF_INSTANCE-$1" -days 3650 -out "$PKI/$1.crt" \
		-addext 'keyUsage=critical,digitalSignature,keyCertSign,cRLSign' 2>/dev/null
}

# pki_cert NAME CA SUBJECT USAGE [SANS]
pki_cert() {
	openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/$1.key"
	openssl req -new -key "$PKI/$1.key" -subj "$3" -out "$PKI/$1.csr"
	openssl x509 -req -in "$PKI/$1.csr" -CA "$PKI/$2.crt" -CAkey "$PKI/$2.key" -days 3650 -out "$PKI/$1.crt" \
		-set_serial "0x$(openssl rand -hex 16)" 2>/dev/null \
		-extfile <(printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=%s\n%s\n' \
			"$4" "${5:+subjectAltName=$5}")
	rm "$PKI/$1.csr"
}

# pki_kubeconfig USER FILE
pki_kubeconfig() {
	cat >"$2" <<-END
		apiVersion: v1
		kind: Config
		clusters:
		- name: $KF_CONTEXT
		  cluster:
		    server: https://$KF_NODE_IP:6443
		    certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")
		users:
		- name: $KF_CONTEXT
		  user:
		    client-certificate-data: $(base64 -w0 "$PKI/$1.crt")
		    client-key-data: $(base64 -w0 "$PKI/$1.key")
		contexts:
		- name: $KF_CONTEXT
		  context: {cluster: $KF_CONTEXT, user: $KF_CONTEXT}
		current-context: $KF_CONTEXT
	END
}

pki_fill() {
	local user names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
	pki_ca ca
	pki_ca front-proxy-ca
	pki_cert apiserver ca /CN=kube-apiserver serverAuth \
		"$names,DNS:localhost,DNS:$KF_NODE_NAME,IP:127.0.0.1,IP:$KF_NODE_IP,IP:$KF_SERVICES.0.1"
	pki_cert apiserver-kubelet-client ca /O=system:masters/CN=kube-apiserver-kubelet-client clientAuth
	pki_cert front-proxy-client front-proxy-ca /CN=front-proxy-client clientAuth
	pki_cert kubelet ca "/O=system:nodes/CN=system:node:$KF_NODE_NAME" clientAuth,serverAuth "DNS:$KF_NODE_NAME,IP:$KF_NODE_IP"
	pki_cert admin ca /O=system:masters/CN=kubernetes-admin clientAuth
	for user in kube-controller-manager kube-scheduler kube-proxy; do
		pki_cert "$user" ca "/CN=system:$user" clientAuth
	done
	openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/sa.key"
	openssl ec -in "$PKI/sa.key" -pubout -out "$PKI/sa.pub" 2>/dev/null
	for user in admin kubelet kube-controller-manager kube-scheduler kube-proxy; do
		pki_kubeconfig "$user" "$PKI/$user.kubeconfig"
	done
}

pki_make() {
	if [[ ! -d $KF_STATE/pki ]]; then
		rm -rf "$KF_STATE"/.pki.*
		PKI=$(mktemp -d "$KF_STATE/.pki.XXXXXX")
		(umask 077 && pki_fill)
		mv -T "$PKI" "$KF_STATE/pki"
	fi
	[[ -f $KF_ADMIN ]] || install -m 0600 "$KF_STATE/pki/admin.kubeconfig" "$KF_ADMIN"
}
