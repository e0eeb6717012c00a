/* tests/model/bus.pml: queue, leases, epochs and the target, for one key and two workers. README.md says what is left out,
 * and which function of the code each step stands for.
 *
 * A step is indivisible, and any that can happen may happen next. Faults and changes by users are limited in number
 * (environment: FAULTS, CHANGES), so that all of it can be explored; delays are not: whatever is under way, a write above
 * all, may land at any later moment. MUTANT=n breaks a rule on purpose (mutants.txt), which has to be found.
 */
c_decl {
static int mutant;
static int number (const char *name, int otherwise) { return getenv (name) ? atoi (getenv (name)) : otherwise; }
}
#define BROKEN(n) (c_expr { mutant == n })
#define KEPT(n) (!BROKEN (n))

#define NOBODY 255
#define ORPHAN 2 /* the run belongs to a session whose worker does not know it (died, or never got its WELCOME) */

/* outcomes of a run */
#define OK 1
#define WAITING 2
#define RETRY 3
#define GONE 4
#define BLOCKED 5 /* waiting for what somebody else's object does; looks again by itself (retry_ms) */

/* ---- the hosting cluster: one plane, one child object, the plane's status --------------------------------------- */
byte plane_uid = 1, plane_gen = 1, uids = 1; /* plane_uid 0: there is none */
bool plane_del;
byte obj_uid, obj_gen;                       /* uid of the plane that owns it; 0: there is none */
byte st_uid, st_gen, st_out;

/* ---- writes under way: of runs, and of watchers ----------------------------------------------------------------- */
#define APPLY 1
#define DELETE 2
typedef write_t { byte op, uid, gen, from; } /* op 0: free; from: the worker that waits for the answer */
write_t wr[2];
#define STATUS 1
#define FINALIZER 2
typedef patch_t { byte op, uid, gen, out; bool fresh, mine, about; }
/* fresh: its resourceVersion is still the plane's; mine: the leader waits for it; about: carries the result the bus keeps */
patch_t pt[2];

/* ---- workers ---------------------------------------------------------------------------------------------------- */
#define AWAY 0
#define GREETED 1 /* the bus took HELLO, its WELCOME is under way */
#define UP 2
#define NONE 0
#define COMING 1   /* the TASK is under way */
#define RUNNING 2
#define WRITING 3  /* waits for the answer to a write */
#define REPORTED 4 /* DONE is sent, or will be in the next session */
#define SETTLED 5  /* ACK (or ERROR Fenced) is under way */
typedef worker_t {
    byte conn, job, uid, gen, o_uid, o_gen, out;
    bool del, wrote;
    bool newest;    /* its event is the newest that was sent */
    bool valid;     /* its lease holds, by its own clock */
    bool past;      /* it ended more than the grace ago */
    bool knows;     /* has a lease to name in HELLO */
    bool saying;    /* announcements and SYNC end are under way */
    bool current;   /* (lease, task) are those of the bus's dispatch */
    bool cancel;    /* told to stop */
    bool abandoned; /* runs on, but nobody wants to hear of it */
    byte answer;    /* to the write: 1 done, 2 refused, 3 an error */
}
worker_t wk[2];

/* ---- the bus: sessions, and the queue's entry of the key -------------------------------------------------------- */
typedef session_t { bool live, announced; }
session_t ss[2];
#define IDLE 0
#define READY 1
#define BUSY 2
#define DELAYED 3
byte e_state, e_uid, e_gen, e_ouid, e_ogen;
bool e_event, e_del, e_newest;
byte run_by = NOBODY, run_uid, run_gen;
bool run_del, again, fresh, canceled, moved, run_ended, held, recheck, released;
bool kept, kept_sent;                        /* a result without ACK; on its way to this watcher */
byte kept_uid, kept_gen, kept_out, kept_wrote;
bool hold;                                   /* a new bus, whose leases of old have not all ended */

/* ---- the watcher ------------------------------------------------------------------------------------------------ */
bool w_up, w_told, w_verdict, w_acked;
byte t_uid, t_gen, t_ouid, t_ogen;           /* what it told the bus last */
bool t_del;
byte v_uid, v_gen, v_out;
bool v_about;                                /* the verdict is the result that the bus keeps */
#define EVENT 1
#define SWEEP 2
byte x_kind, x_uid, x_gen, x_ouid, x_ogen; /* EVENT, or a snapshot without the key, under way */
bool x_del;
bool d_way, a_way, a_about;                  /* a result, an ACK under way */
byte old_uid, old_gen, old_ouid, old_ogen; /* mutant 9: a stale leader's EVENT */
bool old_del;

/* ---- bounds, and what the properties speak of ------------------------------------------------------------------- */
byte faults, changes;
/* Never set: the names say in spin's output which property does not hold. */
bool foreign, exclusive, events, results, deadlock, converged;
bool unseen;                                 /* no run began with the newest event yet */
bool kept_landed;                            /* the API server took the result that the bus keeps, or had it already */

#define FAULT (faults > 0)
#define WAITS(w) (wk[w].job == RUNNING || wk[w].job == WRITING)
#define MAY_WRITE(w) (WAITS (w) && wk[w].valid && !wk[w].abandoned)


inline touched() { pt[0].fresh = false; pt[1].fresh = false }
inline forget_job(w)
{
    wk[w].job = NONE; wk[w].uid = 0; wk[w].gen = 0; wk[w].newest = false; wk[w].o_uid = 0; wk[w].o_gen = 0; wk[w].out = 0;
    wk[w].del = false; wk[w].wrote = false; wk[w].current = false; wk[w].cancel = false; wk[w].abandoned = false;
    wk[w].answer = 0;
}
inline nobody_waits(w)
{
    if :: wr[0].from == w -> wr[0].from = NOBODY :: else fi;
    if :: wr[1].from == w -> wr[1].from = NOBODY :: else fi
}
inline report(w, what) { nobody_waits (w); wk[w].out = what; wk[w].answer = 0; wk[w].job = REPORTED }
inline break_connection(w)
{
    /* What is under way is lost, both ways. */
    if :: wk[w].conn == GREETED && run_by == w -> run_by = ORPHAN :: else fi;
    if :: wk[w].conn == GREETED -> ss[w].live = false; ss[w].announced = false :: else fi;
    if :: wk[w].job == COMING -> forget_job (w) :: wk[w].job == SETTLED -> wk[w].job = REPORTED :: else fi;
    wk[w].conn = AWAY; wk[w].saying = false
}
inline no_run() { run_by = NOBODY; run_uid = 0; run_gen = 0; run_del = false; again = false; fresh = false;
                  canceled = false; moved = false; run_ended = false }
inline not_current() { wk[0].current = false; wk[1].current = false }
inline forget_event() { e_event = false; e_uid = 0; e_gen = 0; e_del = false; e_newest = false; e_ouid = 0; e_ogen = 0 }
/* queue.c maybe_drop */
#define SPENT (e_state == IDLE && !kept && (!hold || !released))
inline maybe_drop() { if :: SPENT -> forget_event (); released = false :: else fi }
/* queue.c make_ready: without an event there is nothing to run. */
inline make_ready()
{
    held = false; recheck = false;
    if
    :: !e_event -> e_state = IDLE
    :: e_event && hold && !released && KEPT (4) -> e_state = DELAYED; held = true
    :: else -> e_state = READY
    fi
}
inline drop_kept() { kept = false; kept_sent = false; kept_uid = 0; kept_gen = 0; kept_out = 0; kept_wrote = 0;
                     kept_landed = false; a_about = false; v_about = false; pt[0].about = false; pt[1].about = false }
inline lose_run() { not_current (); released = released || !run_ended; no_run (); make_ready (); maybe_drop () }
inline no_event_under_way() { x_kind = 0; x_uid = 0; x_gen = 0; x_ouid = 0; x_ogen = 0; x_del = false }
/* What was under way between watcher and bus is lost. */
inline watcher_away() { w_up = false; w_told = false; d_way = false; a_way = false; a_about = false; no_event_under_way () }
/* A new leader knows nothing; what the former one sent may still arrive until the new one's HELLO. */
inline watcher_forgets() { w_up = false; w_told = false; w_verdict = false; w_acked = false; t_uid = 0; t_gen = 0; t_ouid = 0;
                           t_ogen = 0; t_del = false; v_uid = 0; v_gen = 0; v_out = 0; v_about = false;
                           pt[0].mine = false; pt[1].mine = false }

/* ---- the target ------------------------------------------------------------------------------------------------- */
inline land(i)
{
    if
    :: wr[i].op == APPLY && (obj_uid == 0 || obj_uid == wr[i].uid || BROKEN (2)) ->
        assert (foreign || obj_uid == 0 || obj_uid == wr[i].uid);
        obj_uid = wr[i].uid; obj_gen = wr[i].gen;
        if :: wr[i].from != NOBODY -> wk[wr[i].from].answer = 1 :: else fi
    :: wr[i].op == DELETE && (obj_uid == wr[i].uid || BROKEN (1)) ->
        assert (foreign || obj_uid == 0 || obj_uid == wr[i].uid);
        obj_uid = 0; obj_gen = 0;
        if :: wr[i].from != NOBODY -> wk[wr[i].from].answer = 1 :: else fi
    :: else -> /* 422, 409: somebody else's */
        if :: wr[i].from != NOBODY -> wk[wr[i].from].answer = 2 :: else fi
    fi;
    wr[i].op = 0; wr[i].uid = 0; wr[i].gen = 0; wr[i].from = NOBODY
}
inline land_patch(i)
{
    if
    :: (pt[i].fresh || BROKEN (12)) && plane_uid != 0 ->
        assert (foreign || pt[i].uid == plane_uid);
        if
        :: pt[i].op == STATUS ->
            st_uid = pt[i].uid; st_gen = pt[i].gen; st_out = pt[i].out;
            if :: pt[i].about -> kept_landed = true :: else fi
        :: else -> plane_uid = 0; plane_gen = 0; plane_del = false; st_uid = 0; st_gen = 0; st_out = 0
        fi;
        touched ()
    :: else
    fi;
    pt[i].op = 0; pt[i].uid = 0; pt[i].gen = 0; pt[i].out = 0; pt[i].fresh = false; pt[i].mine = false; pt[i].about = false
}
inline start_write(w, what)
{
    assert (exclusive || !MAY_WRITE (1 - w));
    if
    :: wr[0].op == 0 -> wr[0].op = what; wr[0].uid = wk[w].uid; wr[0].gen = wk[w].gen; wr[0].from = w
    :: else -> wr[1].op = what; wr[1].uid = wk[w].uid; wr[1].gen = wk[w].gen; wr[1].from = w
    fi;
    wk[w].job = WRITING
}
#define ROOM (wr[0].op == 0 || wr[1].op == 0)
inline lose(i)
{
    faults--;
    if :: wr[i].from != NOBODY -> wk[wr[i].from].answer = 3 :: else fi;
    wr[i].op = 0; wr[i].uid = 0; wr[i].gen = 0; wr[i].from = NOBODY
}
inline submit(i)
{
    if :: v_out == GONE && plane_del -> pt[i].op = FINALIZER :: else -> pt[i].op = STATUS fi;
    pt[i].uid = v_uid; pt[i].gen = v_gen; pt[i].out = v_out; pt[i].fresh = true; pt[i].mine = true; pt[i].about = v_about
}

/* ---- what the bus does ------------------------------------------------------------------------------------------ */
inline dispatch(w)
{
    e_state = BUSY; run_by = w; run_uid = e_uid; run_gen = e_gen; run_del = e_del;
    again = false; fresh = false; canceled = false; moved = false; run_ended = false;
    not_current ();
    if
    :: wk[w].conn == UP -> /* else the TASK goes into a connection that is dead */
        wk[w].job = COMING; wk[w].uid = e_uid; wk[w].gen = e_gen; wk[w].newest = e_newest; wk[w].del = e_del;
        wk[w].o_uid = e_ouid; wk[w].o_gen = e_ogen; wk[w].current = true
    :: else
    fi
}
inline event(uid, gen, del, o_u, o_g, newest)
{
    if :: kept && kept_uid != uid -> drop_kept () :: else fi;
    e_event = true; e_uid = uid; e_gen = gen; e_del = del; e_newest = newest; e_ouid = o_u; e_ogen = o_g;
    if
    :: e_state == BUSY ->
        if :: KEPT (7) -> again = true :: else fi;
        if :: uid != run_uid || gen > run_gen || (del && !run_del) -> fresh = true :: else fi;
        if :: uid != run_uid || (del && !run_del) -> canceled = true :: else fi
    :: e_state == READY || held -> skip
    :: else -> make_ready ()
    fi
}
inline sweep()
{
    drop_kept ();
    forget_event ();
    if :: e_state == BUSY -> again = false; fresh = false; canceled = true :: else -> e_state = IDLE; held = false; recheck = false; released = false fi
}
inline take_done(w)
{
    if
    :: (wk[w].current || BROKEN (5)) && e_state == BUSY ->
        if
        :: (e_event || !canceled) && !(e_event && e_uid != run_uid) ->
            drop_kept ();
            kept = true; kept_uid = run_uid; kept_gen = run_gen; kept_out = wk[w].out;
            if :: wk[w].wrote -> kept_wrote = wk[w].gen :: else fi
        :: else
        fi;
        released = released || !run_ended;
        if
        :: wk[w].out == RETRY && !canceled && !fresh -> e_state = DELAYED
        :: wk[w].out == BLOCKED && !again -> e_state = DELAYED; recheck = true
        :: wk[w].out != RETRY && wk[w].out != BLOCKED && !again -> e_state = IDLE
        :: else -> make_ready ()
        fi;
        if :: !e_event -> e_state = IDLE; recheck = false :: else fi;
        not_current (); no_run (); maybe_drop ()
    :: else -> skip /* ERROR Fenced */
    fi;
    wk[w].job = SETTLED
}
inline adopt(w)
{
    if
    :: wk[w].job == NONE || wk[w].abandoned -> skip
    :: else ->
        if
        :: e_state == BUSY && wk[w].current -> run_by = w; moved = false
        :: !(e_state == BUSY && wk[w].current) && hold && !released &&
           (e_state != BUSY || (run_ended && wk[w].job != REPORTED)) ->
            not_current (); held = false; recheck = false; run_ended = (wk[w].job == REPORTED && KEPT (14)); e_state = BUSY; run_by = w; run_uid = wk[w].uid; run_gen = wk[w].gen;
            run_del = wk[w].del; again = false; fresh = false; canceled = false; moved = false;
            wk[w].current = true;
            if
            :: e_event ->
                again = true;
                if :: e_uid != run_uid || e_gen > run_gen || (e_del && !run_del) -> fresh = true :: else fi;
                if :: e_uid != run_uid || (e_del && !run_del) -> canceled = true :: else fi
            :: else
            fi
        :: else -> wk[w].cancel = true
        fi
    fi;
    if :: run_by == w && moved && KEPT (8) -> lose_run () :: else fi; /* SYNC end: what it did not name */
    ss[w].announced = true; wk[w].saying = false
}

#define HELD_BACK(w) (wk[w].job != NONE && !wk[w].past && !wk[w].abandoned && !(wk[w].conn == UP && ss[w].announced))
#define LANDED (st_uid == v_uid && st_gen == v_gen && st_out == v_out)
#define MINE (pt[0].mine || pt[1].mine)
#define DIFFERS (!w_told || t_uid != plane_uid || t_gen != plane_gen || t_del != plane_del || \
                 ((t_ouid != obj_uid || t_ogen != obj_gen) && KEPT (13)))

/* ---- the processes ---------------------------------------------------------------------------------------------- */
proctype Worker(byte w)
{
end:
    do
    /* session.c, handle.c on_hello: the bus takes HELLO and moves what the lease named in it runs */
    :: d_step { wk[w].conn == AWAY -> printf ("hello\n");
           if
           :: run_by == w && wk[w].knows && ss[w].live -> moved = true
           :: run_by == w && !(wk[w].knows && ss[w].live) -> run_by = ORPHAN
           :: else
           fi;
           ss[w].live = true; ss[w].announced = false; wk[w].conn = GREETED }
    /* worker.c on_up, abandon_all: a lease that ended too long ago costs the runs of old */
    :: d_step { wk[w].conn == GREETED -> printf ("welcome\n");
           wk[w].conn = UP; wk[w].knows = true; wk[w].saying = true;
           if
           :: wk[w].past && KEPT (10) -> if :: WAITS (w) -> wk[w].abandoned = true :: else -> forget_job (w) fi
           :: else
           fi;
           wk[w].past = false;
           if :: !wk[w].abandoned -> wk[w].valid = true :: else fi }
    /* handle.c on_announce, on_sync */
    :: d_step { wk[w].conn == UP && wk[w].saying && ss[w].live -> printf ("announce\n"); adopt (w) }
    /* session.c on_pong */
    :: d_step { wk[w].conn == UP && !wk[w].valid && ss[w].live && !wk[w].abandoned -> printf ("renew\n");
           wk[w].valid = true; wk[w].past = false }
    /* session.c on_error: "no session" */
    :: d_step { wk[w].conn == UP && !ss[w].live -> printf ("no session\n"); break_connection (w) }
    /* worker.c lease_holds: time passes without a PONG, since the connection is gone or the process was stopped (a fault) */
    :: d_step { wk[w].valid && wk[w].conn != UP -> printf ("lease ends\n"); wk[w].valid = false }
    :: d_step { wk[w].valid && wk[w].conn == UP && FAULT -> printf ("stopped\n"); wk[w].valid = false; faults-- }
    :: d_step { !wk[w].valid && !wk[w].past && wk[w].conn != UP && wk[w].job != NONE -> printf ("grace ends\n"); wk[w].past = true }
    /* broker.c expire: never before lease and grace are over (the assumption about clocks) */
    :: d_step { ss[w].live && (!wk[w].valid || BROKEN (3)) && (wk[w].conn == AWAY || FAULT) -> printf ("expire\n");
           if :: wk[w].conn != AWAY -> faults-- :: else fi;
           ss[w].live = false; ss[w].announced = false;
           if :: wk[w].job != NONE && !wk[w].valid -> wk[w].past = true :: else fi;
           if :: run_by == w -> lose_run () :: else fi }
    /* broker.c dispatch, queue.c kfx_queue_next; worker.c on_task, start_waiting */
    :: d_step { e_state == READY && ss[w].live && ss[w].announced && (wk[w].conn != UP || wk[w].job == NONE) -> printf ("dispatch\n");
           dispatch (w) }
    :: d_step { wk[w].job == COMING && wk[w].conn == UP -> printf ("task\n");
           wk[w].job = RUNNING;
           if :: wk[w].newest -> unseen = false :: else fi }
    /* the run: nothing to do, or a write that starts while the lease holds (worker.c kfx_worker_lease_valid) */
    :: d_step { wk[w].job == RUNNING && MAY_WRITE (w) && wk[w].del && wk[w].o_uid != wk[w].uid -> printf ("nothing to delete\n");
           report (w, GONE) }
    :: d_step { wk[w].job == RUNNING && MAY_WRITE (w) && wk[w].del && wk[w].o_uid == wk[w].uid && ROOM -> printf ("delete\n");
           start_write (w, DELETE) }
    :: d_step { wk[w].job == RUNNING && MAY_WRITE (w) && !wk[w].del && plane_uid != wk[w].uid -> printf ("plane is another\n");
           report (w, WAITING) }
    :: d_step { wk[w].job == RUNNING && MAY_WRITE (w) && !wk[w].del && plane_uid == wk[w].uid &&
                wk[w].o_uid == wk[w].uid && wk[w].o_gen == wk[w].gen -> printf ("nothing to write\n"); report (w, OK) }
    :: d_step { wk[w].job == RUNNING && MAY_WRITE (w) && !wk[w].del && plane_uid == wk[w].uid &&
                !(wk[w].o_uid == wk[w].uid && wk[w].o_gen == wk[w].gen) && ROOM -> printf ("apply\n"); start_write (w, APPLY) }
    :: d_step { wk[w].job == WRITING && wk[w].answer == 1 && !wk[w].abandoned -> printf ("written\n");
           wk[w].wrote = !wk[w].del;
           if :: wk[w].del -> report (w, GONE) :: else -> report (w, OK) fi }
    :: d_step { wk[w].job == WRITING && wk[w].answer == 2 && !wk[w].abandoned -> printf ("refused\n");
           if :: wk[w].del -> report (w, GONE) :: else -> report (w, BLOCKED) fi }
    :: d_step { wk[w].job == WRITING && wk[w].answer == 3 && !wk[w].abandoned -> printf ("error\n"); report (w, RETRY) }
    /* … told to stop; no answer in time, or cut short (a fault each); or nobody wants to hear of it (on_ended, unfence) */
    :: d_step { WAITS (w) && !wk[w].abandoned && (wk[w].cancel || (canceled && wk[w].current)) -> printf ("canceled\n");
           report (w, RETRY) }
    :: d_step { WAITS (w) && !wk[w].abandoned && FAULT -> printf ("gives up\n"); faults--; report (w, RETRY) }
    :: d_step { WAITS (w) && wk[w].abandoned -> printf ("abandoned run ends\n"); nobody_waits (w); forget_job (w) }
    /* handle.c on_done, queue.c kfx_queue_done; worker.c on_message: its ACK, or ERROR Fenced */
    :: d_step { wk[w].job == REPORTED && wk[w].conn == UP && !wk[w].saying && ss[w].live -> printf ("done\n"); take_done (w) }
    :: d_step { wk[w].job == SETTLED && wk[w].conn == UP -> printf ("ack\n"); forget_job (w) }
    /* SIGKILL: a new process takes its place; a connection that breaks */
    :: d_step { FAULT && (wk[w].conn != AWAY || wk[w].job != NONE) -> printf ("killed\n");
           faults--; break_connection (w); nobody_waits (w); forget_job (w);
           wk[w].valid = false; wk[w].past = false; wk[w].knows = false }
    :: d_step { FAULT && wk[w].conn != AWAY -> printf ("connection breaks\n"); faults--; break_connection (w) }
    od
}

/* The API server: what was sent lands, at any time and in any order, or is lost (a fault). */
proctype Target()
{
end:
    do
    :: d_step { wr[0].op != 0 -> printf ("lands\n"); land (0) }
    :: d_step { wr[1].op != 0 -> printf ("lands\n"); land (1) }
    :: d_step { wr[0].op != 0 && FAULT -> printf ("is lost\n"); lose (0) }
    :: d_step { wr[1].op != 0 && FAULT -> printf ("is lost\n"); lose (1) }
    :: d_step { pt[0].op != 0 -> printf ("patch lands\n"); land_patch (0) }
    :: d_step { pt[1].op != 0 -> printf ("patch lands\n"); land_patch (1) }
    :: d_step { obj_uid != 0 && obj_uid != plane_uid -> printf ("garbage collector\n"); obj_uid = 0; obj_gen = 0 }
    od
}

/* A change of the spec; a deletion; the name again, after the finalizer went or though it was removed by hand. */
proctype User()
{
end:
    do
    :: d_step { changes > 0 && plane_uid != 0 && !plane_del && plane_gen < 2 -> printf ("user changes\n");
           changes--; plane_gen++; touched () }
    :: d_step { changes > 0 && plane_uid != 0 && !plane_del -> printf ("user deletes\n"); changes--; plane_del = true; touched () }
    :: d_step { changes > 0 && uids < 2 -> printf ("user creates again\n");
           changes--; uids++; plane_uid = uids; plane_gen = 1; plane_del = false; st_uid = 0; st_gen = 0; st_out = 0; touched () }
    od
}

proctype Bus()
{
end:
    do
    /* broker.c expire, for a session that no process answers for; timing as above */
    :: d_step { run_by == ORPHAN && KEPT (11) && !(MAY_WRITE (0) && wk[0].current) && !(MAY_WRITE (1) && wk[1].current) -> printf ("expire orphan\n");
           if :: wk[0].current -> wk[0].past = true :: else fi;
           if :: wk[1].current -> wk[1].past = true :: else fi;
           lose_run () }
    /* queue.c kfx_queue_tick. A recheck that finds the same as before is left out: it would change nothing */
    :: d_step { e_state == DELAYED && !held && (!recheck || obj_uid == 0 || obj_uid == e_uid) -> printf ("timer\n"); make_ready (); maybe_drop () }
    :: d_step { hold && !HELD_BACK (0) && !HELD_BACK (1) -> printf ("hold ends\n");
           hold = false;
           if :: held -> make_ready () :: else fi;
           maybe_drop () }
    /* handle.c on_event, queue.c kfx_queue_event; on_sync, kfx_queue_sync_end; on_ack, kfx_queue_ack */
    :: d_step { x_kind == EVENT -> printf ("event\n"); event (x_uid, x_gen, x_del, x_ouid, x_ogen, true);
           no_event_under_way () }
    :: d_step { x_kind == SWEEP -> printf ("sweep\n"); sweep (); no_event_under_way () }
    :: d_step { old_uid != 0 -> printf ("stale event\n"); event (old_uid, old_gen, old_del, old_ouid, old_ogen, false);
           old_uid = 0; old_gen = 0; old_del = false; old_ouid = 0; old_ogen = 0 }
    :: d_step { kept && w_up && !kept_sent && !d_way && w_told -> printf ("result sent\n"); kept_sent = true; d_way = true }
    :: d_step { a_way -> printf ("result acked\n");
           a_way = false;
           if
           :: a_about && kept ->
               assert (results || kept_landed || kept_uid != plane_uid || kept_gen < plane_gen || plane_del);
               drop_kept (); maybe_drop ()
           :: else
           fi;
           a_about = false }
    /* SIGKILL: what it knew is gone */
    :: d_step { FAULT -> printf ("bus restarts\n");
           faults--;
           not_current (); no_run (); sweep ();
           e_state = IDLE; held = false; recheck = false; released = false; hold = true;
           ss[0].live = false; ss[0].announced = false; ss[1].live = false; ss[1].announced = false;
           if :: wk[0].conn != AWAY -> break_connection (0) :: else fi;
           if :: wk[1].conn != AWAY -> break_connection (1) :: else fi;
           watcher_away () }
    od
}

proctype Watcher()
{
end:
    do
    /* handle.c hello_watcher: the session of a former leader ends, with all that it sent; publisher.c on_up */
    :: d_step { !w_up -> printf ("watcher hello\n");
           if :: x_kind == EVENT && BROKEN (9) -> old_uid = x_uid; old_gen = x_gen; old_del = x_del;
                                                 old_ouid = x_ouid; old_ogen = x_ogen
              :: else fi;
           watcher_away ();
           w_up = true;
           kept_sent = false }
    /* bus.c kfx_bus_snapshot; step.c send_events, sender.c; publisher.c: a newer event takes the place of one that waits */
    :: d_step { w_up && plane_uid != 0 && DIFFERS && x_kind != SWEEP -> printf ("tell\n");
           w_told = true; unseen = true; e_newest = false; wk[0].newest = false; wk[1].newest = false;
           t_uid = plane_uid; t_gen = plane_gen; t_del = plane_del; t_ouid = obj_uid; t_ogen = obj_gen;
           x_kind = EVENT; x_uid = plane_uid; x_gen = plane_gen; x_del = plane_del; x_ouid = obj_uid; x_ogen = obj_gen }
    :: d_step { w_up && plane_uid == 0 && !w_told -> printf ("tell nothing\n"); w_told = true; x_kind = SWEEP }
    /* bus.c on_done */
    :: d_step { d_way -> printf ("result comes\n");
           d_way = false;
           if
           :: !kept -> skip
           :: kept && (kept_uid != plane_uid || kept_gen < plane_gen) -> a_way = true; a_about = true
           :: else ->
               if :: kept_wrote != 0 -> t_ouid = kept_uid; t_ogen = kept_wrote :: else fi;
               v_uid = kept_uid; v_gen = kept_gen; v_out = kept_out;
               w_verdict = true; w_acked = false; v_about = true; pt[0].about = false; pt[1].about = false;
               if :: BROKEN (6) -> w_acked = true; a_way = true; a_about = true :: else fi
           fi }
    /* step.c step_status, kfx_finalizer_remove, writer.c; step.c ack_all */
    :: d_step { w_verdict && v_uid == plane_uid && !MINE && (pt[0].op == 0 || pt[1].op == 0) &&
                ((v_out == GONE && plane_del) || !LANDED) -> printf ("patch\n");
           if
           :: pt[0].op == 0 -> submit (0)
           :: else -> submit (1)
           fi }
    :: d_step { w_verdict && !w_acked && !a_way && w_up && (v_uid != plane_uid || (LANDED && !MINE)) -> printf ("ack result\n");
           w_acked = true; a_way = true; a_about = v_about;
           if :: a_about && v_uid == plane_uid -> kept_landed = true :: else fi }
    /* it dies or another one leads, whose epoch is higher; its connection breaks */
    :: d_step { FAULT -> printf ("watcher restarts\n"); faults--; watcher_forgets () }
    :: d_step { FAULT && w_up -> printf ("watcher's connection breaks\n"); faults--; watcher_away () }
    od
}

init {
    c_code { mutant = number ("MUTANT", 0); now.faults = number ("FAULTS", 2); now.changes = number ("CHANGES", 2); };
    atomic {
        /* Everybody is connected; how that comes about is what follows the faults. */
        wk[0].conn = UP; wk[0].valid = true; wk[0].knows = true; ss[0].live = true; ss[0].announced = true;
        wk[1].conn = UP; wk[1].valid = true; wk[1].knows = true; ss[1].live = true; ss[1].announced = true;
        w_up = true;
        wr[0].from = NOBODY; wr[1].from = NOBODY;
        run Worker (0); run Worker (1); run Target (); run User (); run Bus (); run Watcher ()
    };
    /* Nothing can happen any more: all has to be well. */
    timeout ->
    assert (deadlock || (e_state == IDLE && run_by == NOBODY && wk[0].job == NONE && wk[1].job == NONE &&
                         wk[0].conn == UP && wk[1].conn == UP && w_up && !hold));
    assert (events || plane_uid == 0 || !unseen);
    assert (results || !kept);
    assert (converged || plane_uid != 0 || obj_uid == 0);
    assert (converged || plane_uid == 0 || plane_del ||
            (obj_uid == plane_uid && obj_gen == plane_gen && st_uid == plane_uid && st_gen == plane_gen && st_out == OK))
}
