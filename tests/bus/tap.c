/* tests/bus/tap.c: a subscriber of the tap: "topic<TAB>json<TAB>frames" a line, for the integration tests. */
#include "proto/tap.h"
#include "base/json.h"
#include "base/mem.h"
#include "bus/keys.h"

#include <czmq.h>
#include <stdio.h>

/* endpoint keys-dir ("" for none) role topic */
int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc != 5)
        return 2;
    kfx_bus_keys_t keys = {"", "", ""};
    kfx_error_t err = KFX_ERROR_INIT;
    zsock_t *sub = zsock_new(ZMQ_SUB);
    if (argv[2][0]) {
        if (kfx_bus_keys_from_dir(argv[2], argv[3], &keys, &err) != 0) {
            fprintf(stderr, "%s\n", err.msg);
            return 1;
        }
        zsock_set_curve_serverkey(sub, keys.server_key);
        zsock_set_curve_publickey(sub, keys.public_key);
        zsock_set_curve_secretkey(sub, keys.secret_key);
    }
    zsock_set_linger(sub, 0);
    zsock_set_subscribe(sub, argv[4]);
    if (zsock_connect(sub, "%s", argv[1]) != 0)
        return 1;
    puts("LISTENING");
    zmsg_t *msg;
    while ((msg = zmsg_recv(sub))) {
        size_t frames = zmsg_size(msg);
        kfx_tap_seen_t seen;
        KFX_FREE char *topic = zframe_strdup(zmsg_first(msg));
        KFX_FREE char *text = NULL;
        if (kfx_tap_decode(zmsg_last(msg), &seen, &err) == 0) {
            KFX_JSON json_t *json = kfx_tap_json(&seen);
            text = kfx_json_text(json);
        }
        printf("%s\t%s\t%zu\n", topic, text ? text : err.msg, frames);
        kfx_msg_release(&seen.msg);
        zmsg_destroy(&msg);
    }
    zsock_destroy(&sub);
    return 0;
}
