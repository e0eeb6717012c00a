/* base/template_run.c: running a parsed template. */
#include "base/buf.h"
#include "base/mem.h"
#include "base/template_tree.h"

#include <string.h>

#define STEPS_MAX 1000000
#define VARIABLES_MAX 256
#define NO_VALUE "<no value>"

typedef enum { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE, FLOW_FAIL } flow_t;

typedef struct {
    const char *name;
    operand_value_t value;
} variable_t;

typedef struct {
    const json_t *vars;
    bool lenient;
    kfx_buf_t out;
    unsigned steps, line;
    variable_t variables[VARIABLES_MAX];
    size_t count;
    json_t *typed; /* what asInt or asBool gave last */
    kfx_error_t *err;
} runner_t;

static void clear_value(operand_value_t *value)
{
    json_decref(value->json);
    value->json = NULL;
}

#define fail(r, ...) (kfx_error_set((r)->err, KFX_E_INVALID, __VA_ARGS__), failed(r))

static int failed(const runner_t *r)
{
    return kfx_error_wrap(r->err, "template line %u", r->line);
}

static int no_value(runner_t *r, const char *name)
{
    return fail(r,
                "variable %.200s has no value: give it one in the control plane's vars or globalVars, or in the hook's "
                "defaultVars",
                name);
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

static int follow(runner_t *r, const char *const *fields, operand_value_t *value)
{
    for (; fields && *fields; fields++) {
        if (!value->json)
            return no_value(r, value->missing);
        if (!json_is_object(value->json))
            return fail(r, ".%.100s: what stands before it has no names inside", *fields);
        json_t *next = json_incref(json_object_get(value->json, *fields));
        clear_value(value);
        value->json = next;
        value->missing = next ? NULL : *fields;
    }
    return 0;
}

static variable_t *find_variable(runner_t *r, const char *name)
{
    for (size_t i = r->count; i-- > 0;)
        if (strcmp(r->variables[i].name, name) == 0)
            return &r->variables[i];
    return NULL;
}

static int run_pipe(runner_t *r, const kfx_template_pipe_t *pipe, const operand_value_t *dot, operand_value_t *out);
static int run_function(runner_t *r, const command_t *command, const operand_value_t *dot, operand_value_t *piped,
                        operand_value_t *out);

static operand_value_t copy_of(const operand_value_t *value)
{
    return (operand_value_t){json_incref(value->json), value->missing};
}

static int evaluate(runner_t *r, const operand_t *operand, const operand_value_t *dot, operand_value_t *out)
{
    variable_t *variable;
    *out = (operand_value_t){.json = NULL};
    switch (operand->kind) {
    case OPERAND_DOT:
    case OPERAND_FIELD: *out = copy_of(dot); return follow(r, operand->fields, out);
    case OPERAND_VARIABLE:
        variable = find_variable(r, operand->name);
        if (!variable)
            return fail(r, "variable $%.100s is not set here", operand->name);
        *out = copy_of(&variable->value);
        return follow(r, operand->fields, out);
    case OPERAND_VALUE: out->json = json_incref(operand->value); return 0;
    case OPERAND_PIPE: return run_pipe(r, operand->pipe, dot, out);
    case OPERAND_FUNCTION: {
        operand_t alone = *operand;
        alone.next = NULL;
        const command_t command = {.operands = &alone};
        return run_function(r, &command, dot, NULL, out);
    }
    }
    return fail(r, "a value of a kind that is not known");
}

/* and, or: the first argument that decides; the rest is not looked at. */
static int run_logic(runner_t *r, const command_t *command, const operand_value_t *dot, operand_value_t *piped,
                     operand_value_t *out)
{
    bool stop_at = command->operands->function->name[0] == 'o';
    for (const operand_t *o = command->operands->next; o; o = o->next) {
        clear_value(out);
        if (evaluate(r, o, dot, out))
            return -1;
        if (kfx_template_true(out) == stop_at || (!o->next && !piped))
            return 0;
    }
    clear_value(out);
    *out = copy_of(piped);
    return 0;
}

/* What has no value goes to functions that are about that, to others as Go prints it, or not at all. */
static int check_argument(runner_t *r, const kfx_template_function_t *f, operand_value_t *value)
{
    if (value->json || f->takes_missing)
        return 0;
    if (!r->lenient)
        return no_value(r, value->missing);
    value->json = json_string(NO_VALUE);
    return 0;
}

static int call(runner_t *r, const kfx_template_function_t *f, const operand_value_t *args, size_t count,
                operand_value_t *out)
{
    kfx_error_t err = KFX_ERROR_INIT;
    if (f->call(args, count, out, &err))
        return fail(r, "%s: %s", f->name, err.msg);
    if (strcmp(f->name, "asInt") == 0 || strcmp(f->name, "asBool") == 0) {
        json_decref(r->typed);
        r->typed = json_incref(out->json);
    }
    return 0;
}

static int run_function(runner_t *r, const command_t *command, const operand_value_t *dot, operand_value_t *piped,
                        operand_value_t *out)
{
    const kfx_template_function_t *f = command->operands->function;
    operand_value_t args[KFX_TEMPLATE_ARGS + 1] = {{.json = NULL}};
    size_t count = 0;
    int rc = 0;
    if (!f->call)
        return run_logic(r, command, dot, piped, out);
    for (const operand_t *o = command->operands->next; o && rc == 0; o = o->next)
        rc = evaluate(r, o, dot, &args[count++]);
    if (rc == 0 && piped)
        args[count++] = copy_of(piped);
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = check_argument(r, f, &args[i]);
    if (rc == 0)
        rc = call(r, f, args, count, out);
    for (size_t i = 0; i < count; i++)
        clear_value(&args[i]);
    return rc;
}

static int set_variable(runner_t *r, const char *name, bool assigns, const operand_value_t *value)
{
    variable_t *known = assigns ? find_variable(r, name) : NULL;
    if (assigns && !known)
        return fail(r, "variable $%.100s is not set here", name);
    if (!known) {
        if (r->count == VARIABLES_MAX)
            return fail(r, "too many variables");
        known = &r->variables[r->count++];
        *known = (variable_t){.name = name};
    }
    clear_value(&known->value);
    known->value = copy_of(value);
    return 0;
}

static void drop_variables(runner_t *r, size_t count)
{
    while (r->count > count)
        clear_value(&r->variables[--r->count].value);
}

static int run_pipe(runner_t *r, const kfx_template_pipe_t *pipe, const operand_value_t *dot, operand_value_t *out)
{
    operand_value_t value = {.json = NULL};
    r->line = pipe->line;
    for (const command_t *c = pipe->commands; c; c = c->next) {
        operand_value_t next = {.json = NULL};
        bool function = c->operands->kind == OPERAND_FUNCTION;
        bool first = c == pipe->commands;
        int rc = ++r->steps > STEPS_MAX ? fail(r, "it takes more than %d steps", STEPS_MAX)
                 : function             ? run_function(r, c, dot, first ? NULL : &value, &next)
                                        : evaluate(r, c->operands, dot, &next);
        clear_value(&value);
        value = next;
        if (rc) {
            clear_value(&value);
            return -1;
        }
    }
    *out = value;
    return 0;
}

/* ---- nodes ------------------------------------------------------------------------------------------------------ */

static flow_t run_list(runner_t *r, const node_t *list, const operand_value_t *dot);

static int print(runner_t *r, const operand_value_t *value)
{
    if (!value->json && !r->lenient)
        return no_value(r, value->missing);
    char *text = value->json ? kfx_template_text(value->json) : kfx_xstrdup(NO_VALUE);
    int rc = !text || kfx_buf_adds(&r->out, text) ? fail(r, "the text is longer than 1 MiB") : 0;
    free(text);
    return rc;
}

static flow_t run_action(runner_t *r, const node_t *node, const operand_value_t *dot)
{
    operand_value_t value = {.json = NULL};
    if (run_pipe(r, node->pipe, dot, &value))
        return FLOW_FAIL;
    int rc =
        node->pipe->name_count ? set_variable(r, node->pipe->names[0], node->pipe->assigns, &value) : print(r, &value);
    clear_value(&value);
    return rc ? FLOW_FAIL : FLOW_NEXT;
}

static flow_t run_condition(runner_t *r, const node_t *node, const operand_value_t *dot)
{
    operand_value_t value = {.json = NULL};
    size_t count = r->count;
    if (run_pipe(r, node->pipe, dot, &value))
        return FLOW_FAIL;
    flow_t flow = FLOW_NEXT;
    if (node->pipe->name_count && set_variable(r, node->pipe->names[0], node->pipe->assigns, &value))
        flow = FLOW_FAIL;
    else if (kfx_template_true(&value))
        flow = run_list(r, node->body, node->kind == NODE_WITH ? &value : dot);
    else
        flow = run_list(r, node->otherwise, dot);
    drop_variables(r, count);
    clear_value(&value);
    return flow;
}

/* One turn. key is NULL where the item has none. */
static flow_t run_turn(runner_t *r, const node_t *node, json_t *key, json_t *item)
{
    const kfx_template_pipe_t *pipe = node->pipe;
    operand_value_t at = {.json = key}, value = {.json = item};
    size_t count = r->count;
    flow_t flow = FLOW_FAIL;
    if (++r->steps > STEPS_MAX) {
        fail(r, "it takes more than %d steps", STEPS_MAX);
    } else if ((pipe->name_count < 2 || set_variable(r, pipe->names[0], false, &at) == 0) &&
               (pipe->name_count < 1 || set_variable(r, pipe->names[pipe->name_count - 1], false, &value) == 0)) {
        flow = run_list(r, node->body, &value);
    }
    drop_variables(r, count);
    return flow == FLOW_CONTINUE ? FLOW_NEXT : flow;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static flow_t range_object(runner_t *r, const node_t *node, json_t *object)
{
    const char **keys = kfx_xcalloc(json_object_size(object) + 1, sizeof *keys), *key;
    size_t count = 0;
    json_t *item;
    json_object_foreach (object, key, item)
        keys[count++] = key;
    qsort(keys, count, sizeof *keys, compare_keys); /* as Go does */
    flow_t flow = FLOW_NEXT;
    for (size_t i = 0; i < count && flow == FLOW_NEXT; i++) {
        json_t *name = json_string(keys[i]);
        flow = run_turn(r, node, name, json_object_get(object, keys[i]));
        json_decref(name);
    }
    free(keys);
    return flow;
}

static flow_t range_count(runner_t *r, const node_t *node, json_int_t count, json_t *list)
{
    flow_t flow = FLOW_NEXT;
    for (json_int_t i = 0; i < count && flow == FLOW_NEXT; i++) {
        json_t *number = json_integer(i);
        flow = run_turn(r, node, number, list ? json_array_get(list, (size_t)i) : number);
        json_decref(number);
    }
    return flow;
}

static flow_t run_range(runner_t *r, const node_t *node, const operand_value_t *dot)
{
    operand_value_t value = {.json = NULL};
    flow_t flow;
    if (run_pipe(r, node->pipe, dot, &value))
        return FLOW_FAIL;
    if (!kfx_template_true(&value)) /* nothing to go through */
        flow = run_list(r, node->otherwise, dot);
    else if (json_is_object(value.json))
        flow = range_object(r, node, value.json);
    else if (json_is_array(value.json))
        flow = range_count(r, node, (json_int_t)json_array_size(value.json), value.json);
    else if (json_is_integer(value.json))
        flow = range_count(r, node, json_integer_value(value.json), NULL);
    else
        flow = fail(r, "range cannot go through a text: splitList makes a list of it") ? FLOW_FAIL : FLOW_NEXT;
    clear_value(&value);
    return flow == FLOW_BREAK ? FLOW_NEXT : flow;
}

static flow_t run_node(runner_t *r, const node_t *node, const operand_value_t *dot)
{
    switch (node->kind) {
    case NODE_TEXT:
        if (kfx_buf_adds(&r->out, node->text) == 0)
            return FLOW_NEXT;
        fail(r, "the text is longer than 1 MiB");
        return FLOW_FAIL;
    case NODE_ACTION: return run_action(r, node, dot);
    case NODE_IF:
    case NODE_WITH: return run_condition(r, node, dot);
    case NODE_RANGE: return run_range(r, node, dot);
    case NODE_BREAK: return FLOW_BREAK;
    case NODE_CONTINUE: return FLOW_CONTINUE;
    }
    return FLOW_FAIL;
}

static flow_t run_list(runner_t *r, const node_t *list, const operand_value_t *dot)
{
    flow_t flow = FLOW_NEXT;
    size_t count = r->count;
    for (const node_t *node = list; node && flow == FLOW_NEXT; node = node->next)
        flow = run_node(r, node, dot);
    drop_variables(r, count);
    return flow;
}

/* The template is one action, and that ends in asInt or asBool. */
static bool is_typed(const kfx_template_t *self)
{
    const node_t *action = NULL;
    for (const node_t *node = self->nodes; node; node = node->next) {
        if (node->kind == NODE_TEXT && !*node->text)
            continue;
        if (action || node->kind != NODE_ACTION)
            return false;
        action = node;
    }
    if (!action || action->pipe->name_count)
        return false;
    const command_t *last = action->pipe->commands;
    while (last->next)
        last = last->next;
    const operand_t *first = last->operands;
    return first->kind == OPERAND_FUNCTION &&
           (strcmp(first->function->name, "asInt") == 0 || strcmp(first->function->name, "asBool") == 0);
}

json_t *kfx_template_run(const kfx_template_t *self, const json_t *vars, bool lenient, kfx_error_t *err)
{
    kfx_error_t local = KFX_ERROR_INIT;
    runner_t *r = kfx_xcalloc(1, sizeof *r);
    r->lenient = lenient;
    r->err = err ? err : &local;
    r->out.max = KFX_TEMPLATE_BYTES;
    json_t *root =
        vars ? json_deep_copy(vars) : json_object(); /* the caller's stays untouched by other threads' counts */
    const operand_value_t dot = {.json = root};
    json_t *out = NULL;
    if (set_variable(r, "", false, &dot) == 0 && run_list(r, self->nodes, &dot) == FLOW_NEXT) {
        if (is_typed(self) && r->typed)
            out = json_incref(r->typed);
        else
            out = json_string(r->out.data ? r->out.data : "");
        if (!out)
            fail(r, "the result is no UTF-8");
    }
    drop_variables(r, 0);
    json_decref(r->typed);
    json_decref(root);
    kfx_buf_wipe(&r->out);
    free(r);
    return out;
}
