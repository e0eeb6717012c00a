#include "base/buf.h"
#include "base/json.h"
#include "base/yaml.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The document as compact JSON, or "error: …". Caller frees. */
static char *read_as_json(const char *text, size_t len)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_JSON json_t *value = kfx_yaml_parse(text, len, &err);
    KFX_BUF kfx_buf_t out = KFX_BUF_INIT(0);
    KFX_FREE char *json = value ? kfx_json_text(value) : NULL;
    if (json)
        kfx_buf_adds(&out, json);
    else
        kfx_buf_addf(&out, "error: %s", err.msg);
    assert_true(value || err.code == KFX_E_INVALID);
    return kfx_buf_steal(&out, NULL);
}

static void expect(const char *yaml, const char *json)
{
    KFX_FREE char *got = read_as_json(yaml, strlen(yaml));
    if (strcmp(got, json) != 0)
        fail_msg("%s\ngives  %s\nwanted %s", yaml, got, json);
}

static void expect_error(const char *yaml, const char *part)
{
    KFX_FREE char *got = read_as_json(yaml, strlen(yaml));
    if (strncmp(got, "error: ", 7) != 0 || !strstr(got, part))
        fail_msg("%s\ngives  %s\nwanted an error with %s", yaml, got, part);
}

static const char *const scalars[][2] = {
    {"null", "null"},
    {"Null", "null"},
    {"NULL", "null"},
    {"~", "null"},
    {"", "null"},
    {"nUll", "\"nUll\""},
    {"true", "true"},
    {"True", "true"},
    {"TRUE", "true"},
    {"tRue", "\"tRue\""},
    {"false", "false"},
    {"False", "false"},
    {"FALSE", "false"},
    /* booleans of YAML 1.1 only */
    {"yes", "\"yes\""},
    {"No", "\"No\""},
    {"on", "\"on\""},
    {"off", "\"off\""},
    {"y", "\"y\""},
    {"N", "\"N\""},
    /* integers */
    {"0", "0"},
    {"12", "12"},
    {"-12", "-12"},
    {"+12", "12"},
    {"00", "0"},
    {"0x1F", "31"},
    {"-0x10", "-16"},
    {"0o17", "15"},
    {"0644", "420"},
    {"-0644", "-420"},
    {"0899", "899"},
    {"08", "8"},
    {"9223372036854775807", "9223372036854775807"},
    {"-9223372036854775808", "-9223372036854775808"},
    {"0x7fffffffffffffff", "9223372036854775807"},
    /* floats */
    {"1.5", "1.5"},
    {"-1.5e3", "-1500.0"},
    {".5", "0.5"},
    {"5.", "5.0"},
    {"1e3", "1000.0"},
    {"1E+2", "100.0"},
    {"0.25", "0.25"},
    /* what only looks like a number */
    {"1.2.3", "\"1.2.3\""},
    {"10.0.0.1", "\"10.0.0.1\""},
    {"1_000", "\"1_000\""},
    {"0b101", "\"0b101\""},
    {"0x", "\"0x\""},
    {"0xg", "\"0xg\""},
    {"0o8", "\"0o8\""},
    {"1e", "\"1e\""},
    {"e3", "\"e3\""},
    {"+", "\"+\""},
    {".", "\".\""},
    {"--1", "\"--1\""},
    {"1:30", "\"1:30\""},
    {"2026-11-23", "\"2026-11-23\""},
    {"500m", "\"500m\""},
    {"1Gi", "\"1Gi\""},
    {"v1.36", "\"v1.36\""},
    {"inf", "\"inf\""},
    {"nan", "\"nan\""},
    /* quoted: always text */
    {"\"true\"", "\"true\""},
    {"'null'", "\"null\""},
    {"\"12\"", "\"12\""},
    {"''", "\"\""},
    {"'0644'", "\"0644\""},
    {"'it''s'", "\"it's\""},
    {"\"\\u00e4\\n\"", "\"ä\\n\""},
    /* tagged */
    {"!!str 12", "\"12\""},
    {"!!str", "\"\""},
    {"!!int \"12\"", "12"},
    {"!!float 1", "1"},
    {"!!bool 'true'", "true"},
    {"!!null ''", "null"},
};

static void test_scalar_types(void **state)
{
    (void)state;
    for (size_t i = 0; i < KFX_COUNT(scalars); i++) {
        char yaml[100], json[100];
        snprintf(yaml, sizeof yaml, "v: %s\n", scalars[i][0]);
        snprintf(json, sizeof json, "{\"v\":%s}", scalars[i][1]);
        expect(yaml, json);
    }
}

static void test_scalars_out_of_range(void **state)
{
    (void)state;
    static const char *const bad[] = {"9223372036854775808",
                                      "-9223372036854775809",
                                      "99999999999999999999999",
                                      "0xffffffffffffffff",
                                      "1e999",
                                      ".inf",
                                      "-.Inf",
                                      ".nan"};
    for (size_t i = 0; i < KFX_COUNT(bad); i++) {
        char yaml[100];
        snprintf(yaml, sizeof yaml, "a: 1\nv: %s\n", bad[i]);
        expect_error(yaml, "line 2: the number ");
    }
}

static void test_collections(void **state)
{
    (void)state;
    expect("a:\n  b:\n  - 1\n  - c: x\n    d: y\n  e: {f: [1, two], g: {}}\nh: []\n",
           "{\"a\":{\"b\":[1,{\"c\":\"x\",\"d\":\"y\"}],\"e\":{\"f\":[1,\"two\"],\"g\":{}}},\"h\":[]}");
    expect("- 1\n- - 2\n  - 3\n-\n", "[1,[2,3],null]");
    expect("{\"json\": [true, null, \"x\"], \"n\": -1.5e1}", "{\"json\":[true,null,\"x\"],\"n\":-15.0}");
    expect("just text", "\"just text\"");
    expect("z: 1\na: 2\nm: 3\n", "{\"z\":1,\"a\":2,\"m\":3}"); /* order is kept */
}

static void test_block_scalars(void **state)
{
    (void)state;
    expect("a: |\n  one\n   two\n\n  three\n", "{\"a\":\"one\\n two\\n\\nthree\\n\"}");
    expect("a: |-\n  one\n  two\n\nb: 1\n", "{\"a\":\"one\\ntwo\",\"b\":1}");
    expect("a: |+\n  one\n\nb: 1\n", "{\"a\":\"one\\n\\n\",\"b\":1}");
    expect("a: >\n  one\n  two\n\n  three\n", "{\"a\":\"one two\\nthree\\n\"}");
    expect("a: |2\n    x\n  y\n", "{\"a\":\"  x\\ny\\n\"}");
    expect("a: |\n  true\n", "{\"a\":\"true\\n\"}");
    expect("a: \"x\n  y\"\n", "{\"a\":\"x y\"}");
}

static void test_keys_are_text(void **state)
{
    (void)state;
    expect("8080: a\n0644: b\ntrue: c\n1.10: d\n\"\": e\n'null': f\n",
           "{\"8080\":\"a\",\"0644\":\"b\",\"true\":\"c\",\"1.10\":\"d\",\"\":\"e\",\"null\":\"f\"}");
    expect_error("~: x\n", "line 1: a key must be a string");
    expect_error("a: 1\n? \n: x\n", "line 2: a key must be a string");
    expect_error("? [a]\n: b\n", "line 1: a key must be a string");
    expect_error("? {a: b}\n: b\n", "line 1: a key must be a string");
    expect_error("a: &k x\n*k : y\n", "line 2: a key must be a string");
}

static void test_duplicate_keys(void **state)
{
    (void)state;
    expect_error("a: 1\nb: 2\na: 3\n", "line 3: the key a stands there twice");
    expect_error("x:\n  - {k: 1, k: 1}\n", "line 2: the key k stands there twice");
    expect_error("8080: 1\n\"8080\": 2\n", "line 2: the key 8080 stands there twice");
    expect("a: {k: 1}\nb: {k: 2}\n", "{\"a\":{\"k\":1},\"b\":{\"k\":2}}");
}

static void test_anchors(void **state)
{
    (void)state;
    expect("a: &x {p: [1]}\nb: *x\nc: [*x, *x]\n",
           "{\"a\":{\"p\":[1]},\"b\":{\"p\":[1]},\"c\":[{\"p\":[1]},{\"p\":[1]}]}");
    expect("a: &x 1\nb: &x 2\nc: *x\n", "{\"a\":1,\"b\":2,\"c\":2}");
    expect_error("a: *nope\n", "line 1: no anchor");
    expect_error("a: *later\nb: &later 1\n", "line 1: no anchor");
    expect_error("a: &self [1, *self]\n", "line 1: no anchor");
    kfx_error_t err = KFX_ERROR_INIT;
    static const char other_document[] = "a: &x 1\n---\nb: *x\n";
    assert_null(kfx_yaml_parse_all(other_document, strlen(other_document), &err));
    assert_non_null(strstr(err.msg, "line 3: no anchor"));
}

static void test_aliases_are_copies(void **state)
{
    (void)state;
    static const char yaml[] = "a: &x {p: 1}\nb: *x\n";
    KFX_JSON json_t *root = kfx_yaml_parse(yaml, strlen(yaml), NULL);
    assert_int_equal(kfx_json_put(root, json_integer(2), "b", "p"), 0);
    assert_int_equal(kfx_json_int(root, 0, "a", "p"), 1);
}

static void test_merge_keys(void **state)
{
    (void)state;
    expect("base: &b {x: 1, y: 1}\nd:\n  <<: *b\n  y: 2\n", "{\"base\":{\"x\":1,\"y\":1},\"d\":{\"y\":2,\"x\":1}}");
    expect("d: {y: 2, <<: [{x: 1, y: 1}, {x: 9, z: 3}]}\n", "{\"d\":{\"y\":2,\"x\":1,\"z\":3}}");
    expect("d: {\"<<\": text}\n", "{\"d\":{\"<<\":\"text\"}}");
    expect_error("d: {<<: 1}\n", "line 1: << needs a mapping");
    expect_error("d: {<<: [1]}\n", "line 1: << needs a mapping");
    expect_error("a: &b {}\nd:\n  <<: *b\n  <<: *b\n", "line 4: the key << stands there twice");
}

static void test_syntax_errors_name_the_line(void **state)
{
    (void)state;
    expect_error("a:\n\tb: 1\n", "line 2: ");
    expect_error("a: 1\n b: 2\n", "line 2: ");
    expect_error("a: [1,\n2\n", "line 3: ");
    expect_error("a: 'x\n", "line ");
    expect_error("a: 1\nb: @x\n", "line 2: ");
    expect_error("a: \"\\q\"\n", "line 1: ");
    expect_error("a: \"\\0\"\n", "line 1: a string must not hold a NUL");
    expect_error("\"a\\0b\": 1\n", "line 1: a string must not hold a NUL");
    expect_error("a: !!binary aGk=\n", "line 1: the tag tag:yaml.org,2002:binary is not supported");
    expect_error("a: !foo {}\n", "line 1: the tag !foo is not supported");
    expect_error("a: !!int x\n", "line 1: the value is not what its tag says");
    expect_error("%YAML 9.9\n---\na: 1\n", "line 1: ");
    expect_error("a: \x01\n", "control characters are not allowed");
    expect_error("a: \xFF\n", "byte 3: ");
}

static void test_errors_do_not_quote_values(void **state)
{
    (void)state;
    static const char *const bad[] = {"a: \"hunter2\n", "a: hunter2: b\n", "- hunter2\nx\n", "a: [hunter2\n",
                                      "a: !!int hunter2\n"};
    for (size_t i = 0; i < KFX_COUNT(bad); i++) {
        KFX_FREE char *got = read_as_json(bad[i], strlen(bad[i]));
        assert_int_equal(strncmp(got, "error: ", 7), 0);
        if (strstr(got, "hunter2"))
            fail_msg("quotes the input: %s", got);
    }
}

static void test_documents(void **state)
{
    (void)state;
    static const char yaml[] = "# head\n---\na: 1\n---\n---\n# nothing\n---\n- b\n...\n---\n''\n";
    KFX_JSON json_t *all = kfx_yaml_parse_all(yaml, strlen(yaml), NULL);
    KFX_FREE char *text = kfx_json_text(all);
    assert_string_equal(text, "[{\"a\":1},[\"b\"],\"\"]");
    expect("", "{}");
    expect("# only a comment\n", "{}");
    expect("---\n", "{}");
    expect("---\n---\na: 1\n", "{\"a\":1}");
    expect_error("a: 1\n---\nb: 2\n", "one document is wanted, there are 2");
    KFX_JSON json_t *none = kfx_yaml_parse_all("", 0, NULL);
    assert_int_equal(json_array_size(none), 0);
}

static void test_depth_bomb(void **state)
{
    (void)state;
    char flow[4000];
    for (size_t depth = 99; depth <= 101; depth++) {
        memset(flow, '[', depth);
        memset(flow + depth, ']', depth);
        KFX_FREE char *got = read_as_json(flow, 2 * depth);
        assert_int_equal(strstr(got, "nested deeper than 100 levels") != NULL, depth > 100);
    }
    memset(flow, '[', sizeof flow); /* never closed */
    KFX_FREE char *got = read_as_json(flow, sizeof flow);
    assert_non_null(strstr(got, "nested deeper than 100 levels"));

    KFX_BUF kfx_buf_t chain = KFX_BUF_INIT(0); /* each alias adds one level */
    kfx_buf_adds(&chain, "a0: &a0 []\n");
    for (int i = 1; i < 150; i++)
        kfx_buf_addf(&chain, "a%d: &a%d [*a%d]\n", i, i, i - 1);
    KFX_FREE char *chained = read_as_json(chain.data, chain.len);
    assert_non_null(strstr(chained, "nested deeper than 100 levels"));
}

static void test_alias_bomb(void **state)
{
    (void)state;
    KFX_BUF kfx_buf_t bomb = KFX_BUF_INIT(0);
    kfx_buf_adds(&bomb, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 10; i++) {
        int j = i - 1;
        kfx_buf_addf(&bomb, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, j, j, j, j, j, j,
                     j, j, j, j);
    }
    KFX_FREE char *got = read_as_json(bomb.data, bomb.len);
    assert_non_null(strstr(got, "more than 200000 nodes"));
}

static void test_size_bounds(void **state)
{
    (void)state;
    KFX_BUF kfx_buf_t text = KFX_BUF_INIT(0);
    for (int i = 0; i < 1001; i++)
        kfx_buf_addf(&text, "- &a%d x\n", i);
    KFX_FREE char *anchors = read_as_json(text.data, text.len);
    assert_non_null(strstr(anchors, "line 1001: more than 1000 anchors"));

    kfx_buf_clear(&text);
    for (int i = 0; i < 200001; i++)
        kfx_buf_adds(&text, "- x\n");
    KFX_FREE char *nodes = read_as_json(text.data, text.len);
    assert_non_null(strstr(nodes, "more than 200000 nodes"));

    kfx_buf_clear(&text);
    static char line[1024];
    memset(line, '#', sizeof line - 1);
    line[sizeof line - 1] = '\n';
    for (int i = 0; i < 8 * 1024; i++)
        kfx_buf_add(&text, line, sizeof line);
    KFX_FREE char *fits = read_as_json(text.data, text.len);
    assert_string_equal(fits, "{}");
    kfx_buf_adds(&text, "\n");
    KFX_FREE char *large = read_as_json(text.data, text.len);
    assert_non_null(strstr(large, "larger than 8388608 bytes"));
}

/* Every prefix of a rich document must end in a value or an error, never in a crash (the sanitizers watch). */
static void test_every_prefix(void **state)
{
    (void)state;
    static const char yaml[] = "%YAML 1.1\n---\na: &x {b: [1, 'q', \"\\u00e4\"], c: !!str 1}\nd: *x\ne: |\n  t\n  u\n"
                               "f:\n- <<: *x\n  g: ~\n? h\n: >-\n  i\n---\nj\n";
    for (size_t n = 0; n < sizeof yaml - 1; n++) {
        kfx_error_t err = KFX_ERROR_INIT;
        KFX_JSON json_t *value = kfx_yaml_parse_all(yaml, n, &err);
        assert_true((value != NULL) == (err.code == KFX_OK));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalar_types),
        cmocka_unit_test(test_scalars_out_of_range),
        cmocka_unit_test(test_collections),
        cmocka_unit_test(test_block_scalars),
        cmocka_unit_test(test_keys_are_text),
        cmocka_unit_test(test_duplicate_keys),
        cmocka_unit_test(test_anchors),
        cmocka_unit_test(test_aliases_are_copies),
        cmocka_unit_test(test_merge_keys),
        cmocka_unit_test(test_syntax_errors_name_the_line),
        cmocka_unit_test(test_errors_do_not_quote_values),
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_depth_bomb),
        cmocka_unit_test(test_alias_bomb),
        cmocka_unit_test(test_size_bounds),
        cmocka_unit_test(test_every_prefix),
    };
    return cmocka_run_group_tests_name("yaml parse", tests, NULL, NULL);
}
