#include "base/template.h"

#include "base/json.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static json_t *variables(void)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "Name", "cp1", "List", "a,b,c", "Empty", "", "Nasty",
                     "\",\"x\":{{.Name}}\n", "Number", "3");
}

static json_t *run(const char *text, bool lenient, kfx_error_t *err)
{
    KFX_JSON json_t *vars = variables();
    kfx_template_t *tmpl = kfx_template_parse(text, err);
    json_t *out = tmpl ? kfx_template_run(tmpl, vars, lenient, err) : NULL;
    kfx_template_destroy(&tmpl);
    return out;
}

static void gives(const char *text, const char *expected)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_JSON json_t *out = run(text, false, &err);
    if (!out)
        fail_msg("%s: %s", text, err.msg);
    if (strcmp(json_string_value(out), expected) != 0)
        fail_msg("%s gives %s, not %s", text, json_string_value(out), expected);
}

static void refuses(const char *text, const char *word)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_JSON json_t *out = run(text, false, &err);
    if (out)
        fail_msg("%s gives %s", text, json_string_value(out));
    assert_int_equal(err.code, KFX_E_INVALID);
    if (!strstr(err.msg, word) || !strstr(err.msg, "template line "))
        fail_msg("%s: %s", text, err.msg);
}

static void test_values(void **state)
{
    (void)state;
    gives("plain { text } }}", "plain { text } }}");
    gives("{{.Name}}", "cp1");
    gives("a-{{ .Name }}-{{$.Name}}", "a-cp1-cp1");
    gives("{{\"q\\\"\\n\"}}{{`a\\b`}}{{7}}{{-2}}{{true}}", "q\"\na\\b7-2true");
    gives("{{.Nasty}}", "\",\"x\":{{.Name}}\n"); /* never looked at again */
    gives("", "");
    gives("a {{- .Name -}}  b{{/* no */}}c {{- /* no */ -}} d", "acp1bcd");
}

static void test_functions(void **state)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"{{.Name | upper | quote}}", "\"CP1\""},
        {"{{printf \"%5s|%-5s|%05d|%q|%v|%t|%x|%%\" .Name .Name 42 .Name 1 true 255}}",
         "  cp1|cp1  |00042|\"cp1\"|1|true|ff|%"},
        {"{{print .Name 1 2 .Name}}{{println 1 .Name}}", "cp11 2cp11 cp1\n"},
        {"{{.Missing | default \"x\"}}{{default \"y\" .Empty}}{{default \"z\" .Name}}", "xycp1"},
        {"{{coalesce .Missing .Empty .Name}}{{ternary \"a\" \"b\" (empty .Missing)}}", "cp1a"},
        {"{{required \"need\" .Name}}", "cp1"},
        {"{{index . \"Name\"}}{{index (splitList \",\" .List) 1}}", "cp1b"},
        {"{{len .Name}}{{slice .Name 1}}{{slice .Name 0 2}}", "3p1cp"},
        {"{{join \"+\" (splitList \",\" .List)}}{{splitList \",\" .List}}", "a+b+c[a b c]"},
        {"{{trim \"  a \"}}{{trimPrefix \"c\" .Name}}{{trimSuffix \"1\" .Name}}{{replace \"p\" \"-\" .Name}}",
         "ap1cpc-1"},
        {"{{contains \"p\" .Name}}{{hasPrefix \"cp\" .Name}}{{hasSuffix \"cp\" .Name}}", "truetruefalse"},
        {"{{trunc 2 .Name}}{{trunc -2 .Name}}", "cpp1"},
        {"{{indent 2 \"a\\nb\"}}{{nindent 1 \"a\"}}", "  a\n  b\n a"},
        {"{{b64enc .Name}}{{b64dec \"Y3Ax\"}}", "Y3Axcp1"},
        {"{{sha256sum \"\" | trunc 8}}", "e3b0c442"},
        {"{{add .Number 2 3}}{{sub 1 .Number}}{{int .Number | toString | squote}}", "8-2'3'"},
        {"{{eq .Name \"a\" \"cp1\"}}{{ne .Name \"a\"}}{{eq .Missing \"\"}}{{not .Empty}}", "truetruefalsetrue"},
        {"{{lt 1 2}}{{le \"b\" \"a\"}}{{gt .Name \"a\"}}{{ge (int .Number) 3}}", "truefalsetruetrue"},
        {"{{and .Name .Empty .Missing}}{{or .Empty .Name}}{{or .Missing .Empty | print}}{{.Name | and .Number}}",
         "cp1cp1"},
    };
    (void)state;
    for (size_t i = 0; i < KFX_COUNT(cases); i++)
        gives(cases[i].text, cases[i].expected);
}

static void test_control(void **state)
{
    (void)state;
    gives("{{if .Name}}a{{else}}b{{end}}{{if .Missing}}a{{else}}b{{end}}{{if .Empty}}a{{end}}", "ab");
    gives("{{if eq .Name \"x\"}}1{{else if eq .Name \"cp1\"}}2{{else}}3{{end}}", "2");
    gives("{{if eq .Name \"x\"}}1{{else if .Missing}}2{{else}}3{{end}}!", "3!");
    gives("{{with .Name}}<{{.}} {{$.Number}}>{{else}}none{{end}}{{with .Missing}}x{{else}}none{{end}}", "<cp1 3>none");
    gives("{{range splitList \",\" .List}}[{{.}}]{{end}}", "[a][b][c]");
    gives("{{range $i, $x := splitList \",\" .List}}{{if $i}};{{end}}{{$i}}={{$x}}{{end}}", "0=a;1=b;2=c");
    gives("{{range $x := splitList \",\" .List}}{{if eq $x \"b\"}}{{continue}}{{end}}{{$x}}{{end}}", "ac");
    gives("{{range splitList \",\" .List}}{{.}}{{break}}{{end}}", "a");
    gives("{{range $k, $v := .}}{{$k}} {{end}}", "Empty List Name Nasty Number ");
    gives("{{range 3}}{{.}}{{end}}{{range .Missing}}x{{else}}none{{end}}", "012none");
    gives("{{$x := .Name}}{{if true}}{{$x = \"new\"}}{{$y := 1}}{{$y}}{{end}}{{$x}}", "1new");
    gives("{{with $x := .Name}}{{$x}}{{end}}", "cp1");
}

static void test_missing(void **state)
{
    kfx_error_t err = KFX_ERROR_INIT;
    (void)state;
    refuses("a\n{{.Missing}}", "variable Missing has no value");
    refuses("a\n{{.Missing}}", "line 2");
    refuses("{{.Missing | upper}}", "variable Missing has no value");
    refuses("{{.Missing.More}}", "variable Missing has no value");
    refuses("{{$x := .Missing}}{{$x}}", "variable Missing has no value");
    refuses("{{or .Missing .Other}}", "variable Other has no value");
    refuses("{{index . \"a-b\"}}", "has no value");
    refuses("{{required \"say Token\" .Token}}", "say Token");
    KFX_JSON json_t *out = run("{{.Missing}}-{{printf \"%s\" .Missing}}", true, &err);
    assert_string_equal(json_string_value(out), "<no value>-<no value>");
}

static void test_typed(void **state)
{
    kfx_error_t err = KFX_ERROR_INIT;
    (void)state;
    KFX_JSON json_t *number = run("{{.Number | asInt}}", false, &err);
    assert_int_equal(json_integer_value(number), 3);
    assert_true(json_is_integer(number));
    KFX_JSON json_t *yes = run(" {{- asBool \"true\" -}} ", false, &err);
    assert_true(json_is_true(yes));
    gives("{{len .Name}}", "3"); /* a text, as ever */
    gives("n{{.Number | asInt}}", "n3");
    refuses("{{.Name | asInt}}", "whole number");
    refuses("{{.Name | asBool}}", "true or false");
}

static void test_refused(void **state)
{
    static const struct {
        const char *text, *word;
    } cases[] = {
        {"{{.Name", "}} is missing"},
        {"{{if .Name}}x", "{{end}} is missing"},
        {"{{if .Name}}x{{else}}y", "{{end}} is missing"},
        {"x{{end}}", "{{end}} without"},
        {"{{else}}", "{{else}} without"},
        {"{{}}", "a value is missing"},
        {"{{.Name | }}", "a value is missing"},
        {"{{html .Name}}", "\"html\" is not supported"},
        {"{{call .Name}}", "\"call\" is not supported"},
        {"{{define \"x\"}}{{end}}", "{{define}} is not supported"},
        {"{{template \"x\"}}", "{{template}} is not supported"},
        {"{{.Name 1}}", "only a function takes arguments"},
        {"{{upper}}", "upper takes 1"},
        {"{{upper .Name .Name}}", "upper takes 1"},
        {"{{upper lower .Name}}", "put ( ) around lower"},
        {"{{1.5}}", "whole numbers"},
        {"{{99999999999999999999}}", "whole numbers"},
        {"{{$x}}", "$x is not defined"},
        {"{{$x = 1}}", "$x is not defined"},
        {"{{if true}}{{$x := 1}}{{end}}{{$x}}", "$x is not defined"},
        {"{{if true}}{{$x := 1}}{{else}}{{$x}}{{end}}", "$x is not defined"},
        {"{{break}}", "belong into range"},
        {"{{range .Name}}{{end}}", "cannot go through a text"},
        {"{{.Name.More}}", "has no names inside"},
        {"{{\"\\x41\"}}", "backquotes"},
        {"{{\"a", "does not end"},
        {"{{`a", "does not end"},
        {"{{/* a", "does not end"},
        {"{{(.Name}}", "a ) is missing"},
        {"{{(.Name).x}}", "after )"},
        {"{{.Name ~ 1}}", "'~' is not supported"},
        {"{{eq 1 \"1\"}}", "cannot be compared"},
        {"{{index (splitList \",\" .List) 9}}", "shorter"},
        {"{{printf \"%z\" 1}}", "verbs"},
        {"{{printf \"%d\" .Name}}", "does not fit"},
        {"{{printf \"%s\"}}", "more verbs"},
        {"{{add 9223372036854775807 1}}", "64 bits"},
        {"{{range 2000000}}{{end}}", "steps"},
        {"{{range 900000}}ab{{end}}", "1 MiB"},
    };
    (void)state;
    for (size_t i = 0; i < KFX_COUNT(cases); i++)
        refuses(cases[i].text, cases[i].word);
}

static void test_depth(void **state)
{
    char text[2000] = "";
    (void)state;
    for (size_t i = 0; i < 100; i++)
        strncat(text, "{{if 1}}", sizeof text - strlen(text) - 1);
    refuses(text, "nested too deeply");
    text[0] = '\0';
    for (size_t i = 0; i < 100; i++)
        strncat(text, i ? "(" : "{{(", sizeof text - strlen(text) - 1);
    refuses(text, "nested too deeply");
}

static void test_tree(void **state)
{
    kfx_error_t err = KFX_ERROR_INIT;
    (void)state;
    KFX_JSON json_t *vars = variables();
    KFX_JSON json_t *tree = json_pack("{s:{s:s, s:[s, i, n, b], s:s}}", "a", "k-{{.Name}}", "v", "list", "{{.Nasty}}",
                                      1, 1, "count", "{{asInt .Number}}");
    KFX_JSON json_t *wanted = json_pack("{s:{s:s, s:[s, i, n, b], s:i}}", "a", "k-cp1", "v", "list",
                                        json_string_value(json_object_get(vars, "Nasty")), 1, 1, "count", 3);
    KFX_JSON json_t *out = kfx_template_render(tree, vars, false, &err);
    assert_true(json_equal(out, wanted));

    /* A value that looks like a name, or like JSON, changes nothing around it. */
    KFX_JSON json_t *twice = json_pack("{s:s, s:s}", "cp1", "a", "{{.Name}}", "b");
    assert_null(kfx_template_render(twice, vars, false, &err));
    assert_non_null(strstr(err.msg, "two names are the same"));
    KFX_JSON json_t *bad = json_pack("{s:[{s:s}]}", "a", "b", "{{.Missing}}");
    assert_null(kfx_template_render(bad, vars, false, &err));
    assert_non_null(strstr(err.msg, "a[0].b: template line 1: variable Missing has no value"));

    assert_int_equal(kfx_template_check(bad, &err), 0); /* it can be parsed */
    json_object_set_new(bad, "c", json_string("{{if}}"));
    assert_int_equal(kfx_template_check(bad, &err), -1);
    assert_non_null(strstr(err.msg, "c: template line 1: a value is missing"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),  cmocka_unit_test(test_functions), cmocka_unit_test(test_control),
        cmocka_unit_test(test_missing), cmocka_unit_test(test_typed),     cmocka_unit_test(test_refused),
        cmocka_unit_test(test_depth),   cmocka_unit_test(test_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
