/* tests/pg/fixture.h: what the tests of one server share: the agent's parts on a real server, one plane after another.
 */
#ifndef KFX_TEST_PG_FIXTURE_H
#define KFX_TEST_PG_FIXTURE_H

#include "storage-agent/database.h"
#include "storage-agent/task.h"
#include "tests/pg/server.h"
#include "tests/pg/store.h"

#include <stdatomic.h>

typedef struct {
    pg_server_t server;
    pg_server_t second; /* in the pool as "east", where a test asked for it */
    store_t *store;
    kfx_storage_t storage;
    char *ca_pem;
    char *output; /* file our own stderr goes to */
} fixture_t;

int fixture_setup(void **state);
int fixture_teardown(void **state);
/* One more server, in the pool under the name "east", with an administrator's password in its Secret. */
void fixture_second(fixture_t *fx);

/* One plane as the watcher would tell of it. */
typedef struct plane {
    fixture_t *fx;
    const char *name;
    char uid[37];
    int generation;       /* of the ControlPlane, where it matters */
    json_t *spec;         /* NULL: it says nothing of its storage */
    bool space;           /* the digest shows the Namespace … */
    const char *recorded; /* status.postgresServer; NULL: nothing yet */
    const char *rotate;   /* as in kfx_digest_t; NULL: nothing is asked for */
    bool secret;          /* … and the Secret as it stands in the store */
    atomic_int left;      /* statements and writes it may still make; < 0: as many as it likes */
    atomic_int asked;
    void (*at_zero)(struct plane *plane); /* called when none is left, instead of stopping it */
} plane_t;

plane_t plane_new(fixture_t *fx, const char *name); /* a uid of its own */
kfx_outcome_t plane_run(plane_t *plane, bool deleting);
/* The same, with the whole result. */
void plane_result(plane_t *plane, bool deleting, kfx_result_t *result);
/* The process ends here: its connection breaks, nothing else is kept. */
void crash(fixture_t *fx);
/* With the login role first that the plane's DSN names. */
void plane_names(plane_t *plane, kfx_storage_names_t *names);
/* The password in the plane's DSN; false without a usable Secret. */
bool plane_password(plane_t *plane, char password[KFX_PASSWORD_SIZE]);
/* A session as the plane's login, as kine would have it. NULL with err. */
kfx_pg_t *plane_connect(plane_t *plane, const char *database, kfx_error_t *err);
/* On the other server. */
kfx_pg_t *plane_connect_to(plane_t *plane, const pg_server_t *server, const char *database, kfx_error_t *err);

/* A session as the agents, the caller's own. NULL with err. */
kfx_pg_t *agent_connect(fixture_t *fx, kfx_error_t *err);
/* A session as the superuser to a database, for looking and for mischief. */
kfx_pg_t *admin(fixture_t *fx, const char *database);
kfx_pg_t *admin_of(fixture_t *fx, const pg_server_t *server, const char *database);
/* First column of the first row, fresh; "" where there is no row. Fails the test on an error. */
char *ask_sql(kfx_pg_t *pg, const char *fmt, ...) KFX_PRINTF(2, 3);
long count_sql(kfx_pg_t *pg, const char *fmt, ...) KFX_PRINTF(2, 3);
void do_sql(kfx_pg_t *pg, const char *fmt, ...) KFX_PRINTF(2, 3);
/* form with %1$s to %4$s replaced, fresh. */
char *fixture_fill(const char *form, const char *a, const char *b, const char *c, const char *d);

#endif
