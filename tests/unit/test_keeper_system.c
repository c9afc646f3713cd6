/* test_keeper_system.c: how much memory a cgroup leaves us, from files that look like the kernel's. The keeper is not in the library: its file is read in. */
#include "keeper/system.c"
#include "test_base.h"
#include <ftw.h>
#include <sys/stat.h>

static char folder[64];

static void put(const char *path, const char *content)
{
    char whole[256], *slash = whole + strlen(folder);
    snprintf(whole, sizeof whole, "%s/%s", folder, path);
    while ((slash = strchr(slash + 1, '/')) != NULL) {
        *slash = '\0';
        (void)mkdir(whole, 0700);
        *slash = '/';
    }
    FILE *f = fopen(whole, "w");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
}

static uint64_t memory(void)
{
    char lines[128], cgroups[128];
    snprintf(lines, sizeof lines, "%s/lines", folder);
    snprintf(cgroups, sizeof cgroups, "%s/cgroup", folder);
    return system_memory(lines, cgroups);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static int begin(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/weir-system.XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int end(void **state)
{
    (void)state;
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

TEST(without_a_cgroup_it_is_the_machines)
{
    uint64_t physical = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    assert_int_equal(memory(), physical);
    put("lines", "0::/a/b\n");
    put("cgroup/a/b/memory.max", "max\n");
    assert_int_equal(memory(), physical);
    put("cgroup/a/b/memory.max", "9000000000000000000\n");
    assert_int_equal(memory(), physical);
}

TEST(the_lowest_limit_on_the_way_up_binds)
{
    put("lines", "0::/a/b\n");
    put("cgroup/a/b/memory.max", "200000000\n");
    assert_int_equal(memory(), 200000000);
    put("cgroup/a/memory.max", "100000000\n");
    assert_int_equal(memory(), 100000000);
    put("cgroup/memory.max", "150000000\n");
    assert_int_equal(memory(), 100000000);
    put("cgroup/a/b/memory.max", "50000000\n");
    assert_int_equal(memory(), 50000000);
}

TEST(the_older_cgroups_are_read_too)
{
    put("lines", "12:cpu,cpuacct:/x\n4:memory:/x/y\n0::/\n");
    put("cgroup/memory/x/y/memory.limit_in_bytes", "9223372036854771712\n"); /* what v1 says for none */
    put("cgroup/memory/x/memory.limit_in_bytes", "70000000\n");
    assert_int_equal(memory(), 70000000);
}

TEST(in_a_container_the_path_is_the_hosts)
{
    put("lines", "4:memory:/docker/0123\n");
    put("cgroup/memory/memory.limit_in_bytes", "60000000\n");
    assert_int_equal(memory(), 60000000);
    put("lines", "0::/\n");
    put("cgroup/memory.max", "40000000\n");
    assert_int_equal(memory(), 40000000);
}

#define SYSTEM_TEST(sentence) cmocka_unit_test_setup_teardown(sentence, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(without_a_cgroup_it_is_the_machines),
        SYSTEM_TEST(the_lowest_limit_on_the_way_up_binds),
        SYSTEM_TEST(the_older_cgroups_are_read_too),
        SYSTEM_TEST(in_a_container_the_path_is_the_hosts),
    };
    return cmocka_run_group_tests_name("keeper_system", tests, NULL, NULL);
}
