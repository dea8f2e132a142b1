# Every tests/<kind>/test_*.c is an executable over the static library (hidden symbols visible) and tests/support;
# every tests/<kind>/test_*.sh and .py is run as it is. CTest labels: the kind; threads, where the source starts some
# (those run under the thread sanitizer); and what a line "ctest: LABEL..." near its top names: slow = not under
# sanitizers, unthreaded = not under the thread sanitizer.
pkg_check_modules(CMOCKA IMPORTED_TARGET cmocka)
if(NOT CMOCKA_FOUND)
    message(STATUS "cmocka is missing: no tests are built; run scripts/setup --check")
    return()
endif()

file(GLOB SUPPORT_SOURCES CONFIGURE_DEPENDS tests/support/*.c)
list(FILTER SUPPORT_SOURCES EXCLUDE REGEX "/fault(malloc|files|run)\\.c$")
add_library(test_support STATIC ${SUPPORT_SOURCES})
target_include_directories(test_support PUBLIC ${PROJECT_SOURCE_DIR}/tests)
target_link_libraries(test_support PUBLIC muga_flags muga_static PkgConfig::CMOCKA ${MUGA_NEEDS})

# Attempts to get out of the sandbox (tests/unit/test_sandbox.c): a program of its own, never instrumented.
add_executable(escape_attempts tests/support/escape/escape.c)
target_compile_options(escape_attempts PRIVATE -Wall -Wextra $<$<BOOL:${MUGA_WERROR}>:-Werror>)
target_link_libraries(escape_attempts PRIVATE Threads::Threads)
set_target_properties(escape_attempts PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/support)

# The labels of a test's source, into ${out}.
function(muga_test_labels kind source out)
    file(STRINGS ${source} marks REGEX "ctest: [a-z ]+" LIMIT_COUNT 1)
    string(REGEX REPLACE ".*ctest: ([a-z ]*[a-z]).*" "\\1" marks "${marks}")
    string(REPLACE " " ";" labels "${kind} ${marks}")
    file(STRINGS ${source} threads REGEX "os_pool_new|pthread_create|n_thread" LIMIT_COUNT 1)
    if(threads AND NOT "unthreaded" IN_LIST labels)
        list(APPEND labels threads)
    endif()
    set(${out} ${labels} PARENT_SCOPE)
endfunction()

# Runs through tests/support/run, which gives each test an empty MUGA_HOME of its own and removes it afterwards.
function(muga_add_test kind name source)
    muga_test_labels(${kind} ${source} labels)
    add_test(NAME ${kind}/${name}
        COMMAND ${PROJECT_SOURCE_DIR}/tests/support/run ${ARGN}
        WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    set_tests_properties(${kind}/${name} PROPERTIES
        LABELS "${labels}" TIMEOUT 600 SKIP_RETURN_CODE 77
        ENVIRONMENT "MUGA_PROGRAM=${PROJECT_BINARY_DIR}/muga;MUGA_BUILD_DIR=${PROJECT_BINARY_DIR}")
endfunction()

set(MUGA_EMULATOR)
if(CMAKE_CROSSCOMPILING)
    set(MUGA_EMULATOR ${CMAKE_CROSSCOMPILING_EMULATOR})
endif()
file(GLOB TEST_SOURCES CONFIGURE_DEPENDS tests/*/test_*.c)
foreach(source ${TEST_SOURCES})
    get_filename_component(name ${source} NAME_WE)
    get_filename_component(folder ${source} DIRECTORY)
    get_filename_component(kind ${folder} NAME)
    # The fault harness replaces malloc, and a sanitizer wants it for itself.
    if(kind STREQUAL "fault" AND MUGA_SANITIZE)
        continue()
    endif()
    # The thread sanitizer has nothing to say where there is one thread.
    muga_test_labels(${kind} ${source} labels)
    if(MUGA_SANITIZE STREQUAL "thread" AND NOT "threads" IN_LIST labels)
        continue()
    endif()
    add_executable(${kind}_${name} ${source})
    set_target_properties(${kind}_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/${kind}
        OUTPUT_NAME ${name})
    target_link_libraries(${kind}_${name} PRIVATE test_support)
    if(kind STREQUAL "fault")
        target_sources(${kind}_${name} PRIVATE tests/support/faultmalloc.c tests/support/faultrun.c)
    endif()
    if(name MATCHES "^test_fault_files")
        target_sources(${kind}_${name} PRIVATE tests/support/faultfiles.c)
    endif()
    muga_add_test(${kind} ${name} ${source} ${MUGA_EMULATOR} $<TARGET_FILE:${kind}_${name}>)
endforeach()

# Scripts start the program by name, which an emulated one can't be.
if(CMAKE_CROSSCOMPILING)
    return()
endif()

file(GLOB TEST_SCRIPTS CONFIGURE_DEPENDS tests/*/test_*.sh tests/*/test_*.py)
foreach(source ${TEST_SCRIPTS})
    get_filename_component(name ${source} NAME)
    get_filename_component(folder ${source} DIRECTORY)
    get_filename_component(kind ${folder} NAME)
    if(name MATCHES "\\.sh$")
        muga_add_test(${kind} ${name} ${source} sh ${source})
    else()
        muga_add_test(${kind} ${name} ${source} python3 ${source})
    endif()
endforeach()

# tests/fuzz/fuzz_NAME.c: a libFuzzer target. It is built with libFuzzer where MUGA_FUZZ says so (clang; preset fuzz),
# else with a driver that replays tests/fuzz/corpus/NAME and some mutations of it, which is a test.
file(GLOB FUZZ_SOURCES CONFIGURE_DEPENDS tests/fuzz/fuzz_*.c)
foreach(source ${FUZZ_SOURCES})
    get_filename_component(name ${source} NAME_WE)
    string(REPLACE "fuzz_" "" corpus ${name})
    set(corpus ${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${corpus})
    if(MUGA_SANITIZE STREQUAL "thread")
        continue()
    endif()
    add_executable(${name} ${source})
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/fuzz)
    target_link_libraries(${name} PRIVATE muga_flags muga_static ${MUGA_NEEDS})
    if(MUGA_FUZZ)
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
        muga_add_test(fuzz ${name} ${source} $<TARGET_FILE:${name}> -runs=0 ${corpus})
    else()
        target_sources(${name} PRIVATE tests/fuzz/replay.c)
        muga_add_test(fuzz ${name} ${source} $<TARGET_FILE:${name}> -mutations=40 ${corpus})
    endif()
endforeach()
