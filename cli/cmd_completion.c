/* kflex completion: the scripts for shells, and what they ask (`kflex __complete WORD…`). */
#include "cli/cli.h"

#include "base/json.h"
#include "base/mem.h"
#include "cli/complete.h"
#include "cli/hosting.h"
#include "cli/kubefile.h"
#include "cli/plane.h"

#include <string.h>

#define ASK_LIMIT_MS 1500 /* somebody has pressed Tab */

/* Words are split by the shell at '=' too: they are put together again, and what it has on the line already is cut off
 * the answers. */
static const char bash_script[] = "# bash completion for kflex: source <(kflex completion bash)\n"
                                  "_kflex() {\n"
                                  "\tlocal i word line directive=4 words=() cur\n"
                                  "\tfor ((i = 1; i <= COMP_CWORD; i++)); do\n"
                                  "\t\tword=${COMP_WORDS[i]}\n"
                                  "\t\tif [[ $word == = && ${#words[@]} -gt 0 ]]; then\n"
                                  "\t\t\twords[-1]+==\n"
                                  "\t\telif [[ ${#words[@]} -gt 0 && ${words[-1]} == --*= ]]; then\n"
                                  "\t\t\twords[-1]+=$word\n"
                                  "\t\telse\n"
                                  "\t\t\twords+=(\"$word\")\n"
                                  "\t\tfi\n"
                                  "\tdone\n"
                                  "\tcur=${words[-1]}\n"
                                  "\tCOMPREPLY=()\n"
                                  "\twhile IFS= read -r line; do\n"
                                  "\t\tif [[ $line == :* ]]; then\n"
                                  "\t\t\tdirective=${line#:}\n"
                                  "\t\telse\n"
                                  "\t\t\tline=${line%%$'\\t'*}\n"
                                  "\t\t\tif [[ $cur == --*=* ]]; then line=${line#*=}; fi\n"
                                  "\t\t\tCOMPREPLY+=(\"$(printf %q \"$line\")\")\n"
                                  "\t\tfi\n"
                                  "\tdone < <(\"${COMP_WORDS[0]}\" __complete \"${words[@]}\" 2>/dev/null)\n"
                                  "\tif [[ ${#COMPREPLY[@]} -eq 0 && $directive -eq 0 ]]; then compopt -o default; fi\n"
                                  "\tif [[ $directive -eq 16 ]]; then compopt -o dirnames; fi\n"
                                  "}\n"
                                  "complete -F _kflex kflex\n";

static const char zsh_script[] =
    "#compdef kflex\n"
    "# zsh completion for kflex: source <(kflex completion zsh), or a file _kflex in a folder of $fpath\n"
    "_kflex() {\n"
    "\tlocal line directive=4\n"
    "\tlocal -a asked found\n"
    "\tasked=(\"${(@Q)words[2,CURRENT]}\")\n"
    "\t((CURRENT > ${#words})) && asked+=('')\n"
    "\tfor line in \"${(@f)$(${words[1]} __complete \"${asked[@]}\" 2>/dev/null)}\"; do\n"
    "\t\tif [[ $line == :* ]]; then\n"
    "\t\t\tdirective=${line#:}\n"
    "\t\telif [[ $line == *$'\\t'* ]]; then\n"
    "\t\t\tfound+=(\"${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}\")\n"
    "\t\telif [[ -n $line ]]; then\n"
    "\t\t\tfound+=(\"${line//:/\\\\:}\")\n"
    "\t\tfi\n"
    "\tdone\n"
    "\t((${#found})) && _describe -V kflex found\n"
    "\t[[ $directive == 0 ]] && _files\n"
    "\t[[ $directive == 16 ]] && _files -/\n"
    "\treturn 0\n"
    "}\n"
    "if [[ $funcstack[1] == _kflex ]]; then _kflex \"$@\"; else compdef _kflex kflex; fi\n";

static const char fish_script[] = "# fish completion for kflex: kflex completion fish | source\n"
                                  "function __kflex_complete\n"
                                  "\tset -l words (commandline -opc) (commandline -ct)\n"
                                  "\tfor line in ($words[1] __complete $words[2..-1] 2>/dev/null)\n"
                                  "\t\tswitch $line\n"
                                  "\t\t\tcase ':0'\n"
                                  "\t\t\t\t__fish_complete_path (commandline -ct)\n"
                                  "\t\t\tcase ':16'\n"
                                  "\t\t\t\t__fish_complete_directories (commandline -ct)\n"
                                  "\t\t\tcase ':*'\n"
                                  "\t\t\tcase '*'\n"
                                  "\t\t\t\techo $line\n"
                                  "\t\tend\n"
                                  "\tend\n"
                                  "end\n"
                                  "complete -c kflex -f -a '(__kflex_complete)'\n";

static int print_script(kfx_cli_t *cli, const char *script)
{
    fputs(script, cli->out.out);
    return 0;
}

int kfx_cmd_completion_bash(kfx_cli_t *cli, kfx_error_t *err)
{
    (void)err;
    return print_script(cli, bash_script);
}

int kfx_cmd_completion_zsh(kfx_cli_t *cli, kfx_error_t *err)
{
    (void)err;
    return print_script(cli, zsh_script);
}

int kfx_cmd_completion_fish(kfx_cli_t *cli, kfx_error_t *err)
{
    (void)err;
    return print_script(cli, fish_script);
}

/* From the hosting cluster; nothing is stored or said where it does not answer soon. */
static bool add_planes_of_cluster(const kfx_kc_t *kc, kfx_candidates_t *out)
{
    const char *context;
    if (kfx_hosting_plan(kc, &context, NULL, NULL) == KFX_HOSTING_UNKNOWN)
        return false;
    kfx_kube_t *kube = kfx_hosting_client(kc, context, NULL);
    if (!kube)
        return false;
    KFX_REQUEST kfx_request_t *get = kfx_request_new(KFX_GET, NULL, "%s", KFX_CONTROLPLANES_PATH);
    get->metadata_only = true;
    get->no_retry = true;
    get->timeout_ms = ASK_LIMIT_MS;
    bool answered = kfx_kube_call(kube, get, NULL) == 0;
    size_t i;
    json_t *item;
    json_array_foreach (json_object_get(get->answer, "items"), i, item) {
        const char *name = kfx_json_str(item, "metadata", "name");
        if (name)
            kfx_candidates_add(out, name, "control plane");
    }
    kfx_kube_destroy(&kube);
    return answered;
}

static void source(void *ctx, const char *what, kfx_candidates_t *out)
{
    kfx_kc_t kc;
    if (kfx_kubefile_load(ctx, false, &kc, NULL) < 0)
        return;
    bool contexts = strcmp(what, "@context") == 0;
    if (contexts || !add_planes_of_cluster(&kc, out)) {
        const char *name;
        for (kfx_kc_cursor_t at = {0, 0}; (name = kfx_kc_next(&kc, KFX_KC_CONTEXTS, &at));) {
            const char *plane = kfx_kc_plane_of(&kc, name);
            if (contexts)
                kfx_candidates_add(out, name, plane ? "context of a control plane" : "context");
            else if (plane)
                kfx_candidates_add(out, plane, "control plane");
        }
    }
    kfx_kc_release(&kc);
}

/* Among the words before the last one, as the shell has them. */
static char *kubeconfig_among(char **words, size_t count)
{
    for (size_t i = 0; i + 1 < count; i++) {
        if (strncmp(words[i], "--kubeconfig=", 13) == 0)
            return words[i] + 13;
        if (i + 2 < count && (strcmp(words[i], "--kubeconfig") == 0 || strcmp(words[i], "-k") == 0))
            return words[i + 1];
    }
    return NULL;
}

int kfx_cmd_complete(kfx_cli_t *cli, kfx_error_t *err)
{
    (void)err;
    size_t count = cli->opts.arg_count;
    KFX_FREE char **words = kfx_xcalloc(count + 1, sizeof *words);
    for (size_t i = 0; i < count; i++)
        words[i] = kfx_xstrdup(cli->opts.arg[i]);
    kfx_candidates_t out = {.text = KFX_BUF_INIT(4 << 20), .descriptions = true};
    int directive = kfx_complete(cli->root, words, count, &out, source, kubeconfig_among(words, count));
    fprintf(cli->out.out, "%s:%d\n", out.text.len ? out.text.data : "", directive);
    kfx_buf_free(&out.text);
    for (size_t i = 0; i < count; i++)
        free(words[i]);
    return 0;
}
