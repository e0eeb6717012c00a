#include "base/buf.h"
#include "base/json.h"
#include "base/yaml.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void expect(json_t *stolen, const char *yaml)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_JSON json_t *value = stolen;
    KFX_FREE char *got = kfx_yaml_dump(value, &err);
    if (!got || strcmp(got, yaml) != 0)
        fail_msg("got\n%s\nwanted\n%s", got ? got : err.msg, yaml);
}

static void round_trip(json_t *stolen)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_JSON json_t *value = stolen;
    KFX_FREE char *json = kfx_json_text(value);
    KFX_FREE char *yaml = kfx_yaml_dump(value, &err);
    KFX_JSON json_t *back = yaml ? kfx_yaml_parse(yaml, strlen(yaml), &err) : NULL;
    if (!back || !json_equal(value, back))
        fail_msg("%s became\n%s\n%s", json, yaml ? yaml : "nothing", err.msg);
}

static void test_layout(void **state)
{
    (void)state;
    expect(json_pack("{s:s, s:{s:{s:s}, s:[{s:i, s:b}, s]}, s:{}, s:[], s:n, s:f}", "kind", "Pod", "spec", "inner", "k",
                     "v", "list", "a", 1, "b", 0, "text", "map", "none", "nil", "real", 1.5),
           "kind: Pod\nspec:\n  inner:\n    k: v\n  list:\n  - a: 1\n    b: false\n  - text\nmap: {}\nnone: []\nnil: "
           "null\n"
           "real: 1.5\n");
    expect(json_pack("{s:i, s:i, s:i}", "z", 1, "a", 2, "m", 3), "z: 1\na: 2\nm: 3\n");
}

static void test_pem_is_a_literal_block(void **state)
{
    (void)state;
    static const char pem[] = "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQ+/=\n-----END CERTIFICATE-----\n";
    expect(json_pack("{s:{s:s}}", "data", "ca.crt", pem),
           "data:\n  ca.crt: |\n    -----BEGIN CERTIFICATE-----\n    MIIBszCCAVmgAwIBAgIUQ+/=\n"
           "    -----END CERTIFICATE-----\n");
    expect(json_pack("[s]", "#!/bin/sh\nset -e\n\nexit 0"), "- |-\n  #!/bin/sh\n  set -e\n\n  exit 0\n");
}

static void test_blanks_that_matter_are_shown(void **state)
{
    (void)state;
    expect(json_pack("[s]", " a\nb"), "- \" a\\nb\"\n");
    expect(json_pack("[s]", "\na\n"), "- \"\\na\\n\"\n");
    expect(json_pack("[s]", "a \nb"), "- \"a \\nb\"\n");
    expect(json_pack("[s]", "a\n\n"), "- \"a\\n\\n\"\n");
    expect(json_pack("[s]", "a\n\nb"), "- |-\n  a\n\n  b\n");
    expect(json_pack("{s:i}", "a\nb", 1), "? \"a\\nb\"\n: 1\n");
}

static void test_long_lines_are_not_folded(void **state)
{
    (void)state;
    char text[2000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 10 == 9 ? ' ' : 'w';
    text[sizeof text - 1] = 0;
    KFX_JSON json_t *value = json_pack("{s:s}", "k", text);
    KFX_FREE char *yaml = kfx_yaml_dump(value, NULL);
    assert_ptr_equal(strchr(yaml, '\n'), yaml + strlen(yaml) - 1);
    round_trip(json_incref(value));
}

/* What a reader of YAML 1.1 or 1.2 would take for something else must be quoted, and other text must not. */
static void test_quoting(void **state)
{
    (void)state;
    static const char *const quoted[] = {
        "",
        "~",
        "null",
        "Null",
        "true",
        "False",
        "TRUE",
        "yes",
        "No",
        "on",
        "OFF",
        "y",
        "N",
        "0",
        "12",
        "-12",
        "+1",
        "0644",
        "0o17",
        "0x1F",
        "0b11",
        "1_000",
        "1.5",
        ".5",
        "5.",
        "1e3",
        "1E-5",
        ".inf",
        ".NaN",
        "-.Inf",
        "1:30",
        "190:20:30",
        "<<",
        "=",
        "2026-11-23",
        "2026-11-23T10:00:00Z",
        "123456789012345678901234567890",
        "08",
    };
    static const char *const plain[] = {
        "text",       "Pod",         "v1.36.3",
        "10.96.0.1",  "1.2.3",       "500m",
        "1Gi",        "a:b",         "https://x:443/y?z=1",
        "cp1-system", "x=y",         "nullable",
        "yesterday",  "deadbeef",    "tenancy.kflex.kubestellar.org/v1alpha1",
        "grün",       "a b",         "/readyz",
        "8d3e-4f",    "sha256:12ab",
    };
    for (size_t i = 0; i < KFX_COUNT(quoted); i++) {
        char yaml[100];
        snprintf(yaml, sizeof yaml, "k: \"%s\"\n", quoted[i]);
        expect(json_pack("{s:s}", "k", quoted[i]), yaml);
        snprintf(yaml, sizeof yaml, "\"%s\": 1\n", quoted[i]);
        expect(json_pack("{s:i}", quoted[i], 1), yaml);
    }
    for (size_t i = 0; i < KFX_COUNT(plain); i++) {
        char yaml[100];
        snprintf(yaml, sizeof yaml, "k: %s\n", plain[i]);
        expect(json_pack("{s:s}", "k", plain[i]), yaml);
    }
}

static void test_awkward_strings_round_trip(void **state)
{
    (void)state;
    static const char *const texts[] = {
        " lead",
        "trail ",
        "\n",
        "\n\n",
        "a\n\n",
        "\na",
        " a\nb",
        "a \nb",
        "a\n b",
        "a\r\nb",
        "a\rb",
        "\ta",
        "a\tb\nc",
        "a\t\nb",
        "- a",
        "-",
        "--- a",
        "...",
        "---\na",
        "a\n---\nb",
        "a\n...\n",
        "? a",
        ": a",
        "a: b",
        "a #b",
        "#a",
        "a:",
        "&a",
        "*a",
        "!a",
        "|",
        ">",
        "%a",
        "@a",
        "`a",
        "\"a\"",
        "'a'",
        "a'b\"c",
        "{a}",
        "[a",
        "a]",
        "a, b",
        "\\n",
        "\x01\x1b[m",
        "\x7f",
        "\xC2\x85",
        "\xE2\x80\xA8",
        "\xEF\xBB\xBF",
        "a\n\xEF\xBB\xBF\n",
        "\xF0\x9F\x98\x80",
        "a\nb\xC2\x85\n",
        "a\xE2\x80\xA8\nb",
        "key: |\n  x\n",
        "a\n  b\n\n\n c\nd\n",
    };
    for (size_t i = 0; i < KFX_COUNT(texts); i++) {
        round_trip(json_string(texts[i]));
        round_trip(json_pack("{s:s, s:[s, {s:s}]}", "k", texts[i], "l", texts[i], "m", texts[i]));
        round_trip(json_pack("{s:{s:i}, s:s}", texts[i], texts[i], 1, "other", texts[i]));
        round_trip(json_pack("[[s, [s]], s]", texts[i], texts[i], texts[i]));
    }
}

static void test_numbers_round_trip(void **state)
{
    (void)state;
    static const double reals[] = {
        0.0, -0.5, 0.1, 1.0 / 3, 1e300, 5e-324, 1e22, 123456789.123, 100000000000000000000.0};
    for (size_t i = 0; i < KFX_COUNT(reals); i++)
        round_trip(json_pack("{s:f}", "n", reals[i]));
    round_trip(json_integer(INT64_MIN));
    round_trip(json_integer(INT64_MAX));
    expect(json_real(0.1), "0.1\n");
}

/* Strings over an alphabet of everything YAML finds special, from a fixed seed. */
static void test_random_strings_round_trip(void **state)
{
    (void)state;
    static const char *const bits[] = {"a",        "b", " ", " ", "\n", "\n", "\t", ":", "-", "#", "'",  "\"",
                                       "|",        ">", "{", "]", ",",  "?",  "0",  "1", "e", ".", "\\", "\r",
                                       "\xC3\xA4", "&", "*", "!", "%",  "@",  "~",  "=", "<", "_", "x",  "\xE2\x80\xA8",
                                       "\x02"};
    uint32_t seed = 20261123;
    for (int round = 0; round < 4000; round++) {
        KFX_BUF kfx_buf_t text = KFX_BUF_INIT(0);
        kfx_buf_adds(&text, "");
        size_t pieces = (seed >> 8) % 9;
        for (size_t i = 0; i <= pieces; i++) {
            seed = seed * 1664525 + 1013904223; /* Numerical Recipes' LCG */
            kfx_buf_adds(&text, bits[(seed >> 16) % KFX_COUNT(bits)]);
        }
        round_trip(json_pack("{s:s, s:[s]}", "k", text.data, text.data, text.data));
    }
}

static void test_bounds(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    assert_null(kfx_yaml_dump(NULL, &err));
    assert_int_equal(err.code, KFX_E_INVALID);
    json_t *deep = json_array();
    for (int i = 0; i < 3000; i++)
        deep = json_pack("[o]", deep);
    assert_null(kfx_yaml_dump(deep, &err));
    json_decref(deep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_pem_is_a_literal_block),
        cmocka_unit_test(test_blanks_that_matter_are_shown),
        cmocka_unit_test(test_long_lines_are_not_folded),
        cmocka_unit_test(test_quoting),
        cmocka_unit_test(test_awkward_strings_round_trip),
        cmocka_unit_test(test_numbers_round_trip),
        cmocka_unit_test(test_random_strings_round_trip),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests_name("yaml dump", tests, NULL, NULL);
}
