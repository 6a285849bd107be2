# How headscope's targets are built: one static library a room, one test program a room.

# g++ 12 takes "text" + std::string() for an overlapping copy (GCC bug 105651), so -Wrestrict is off there.
set(HEADSCOPE_WARNINGS -Wall -Wextra -Wpedantic -Wconversion -Wshadow $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)

# Flags that every target of ours carries.
add_library(headscope_flags INTERFACE)
target_compile_options(headscope_flags INTERFACE ${HEADSCOPE_WARNINGS} $<$<BOOL:${HEADSCOPE_WERROR}>:-Werror>)
target_include_directories(headscope_flags INTERFACE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
target_compile_definitions(headscope_flags INTERFACE HEADSCOPE_VERSION="${PROJECT_VERSION}"
  $<$<BOOL:${HEADSCOPE_OPENMP}>:HEADSCOPE_OPENMP> $<$<BOOL:${HEADSCOPE_SCALAR}>:HEADSCOPE_SCALAR>)
if(HEADSCOPE_SANITIZE)
  # g++ 12 sees uninitialised members in std::regex once sanitizers are on.
  target_compile_options(headscope_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  target_compile_options(headscope_flags INTERFACE -fsanitize=${HEADSCOPE_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  target_link_options(headscope_flags INTERFACE -fsanitize=${HEADSCOPE_SANITIZE})
endif()
if(HEADSCOPE_FUZZ)  # the fuzzer sees only the branches of code that was built to report them
  target_compile_options(headscope_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# headscope_room(NAME [ROOMS room...] [LIBRARIES target...])
# src/NAME/*.cpp become the library headscope_NAME, tests/NAME/*_test.cpp the program test_NAME.
function(headscope_room name)
  cmake_parse_arguments(ROOM "" "" "ROOMS;LIBRARIES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cpp)
  if(NOT sources)
    add_library(headscope_${name} INTERFACE)
    set(scope INTERFACE)
  else()
    add_library(headscope_${name} STATIC ${sources})
    set(scope PUBLIC)
  endif()
  list(TRANSFORM ROOM_ROOMS PREPEND headscope_)
  target_link_libraries(headscope_${name} ${scope} headscope_flags ${ROOM_ROOMS} ${ROOM_LIBRARIES})
  if(HEADSCOPE_OPENMP AND name STREQUAL "tensor")
    target_link_libraries(headscope_${name} ${scope} OpenMP::OpenMP_CXX)
  endif()
  headscope_tests(${name} headscope_${name} headscope_formats)  # goldens are safetensors files
endfunction()

# headscope_tests(NAME library...): tests/NAME/*_test.cpp, labels from the file name: golden_*_test.cpp is `golden`.
function(headscope_tests name)
  if(NOT HEADSCOPE_TESTS)
    return()
  endif()
  file(GLOB tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${name}/*_test.cpp)
  set(golden ${tests})
  list(FILTER golden INCLUDE REGEX "/golden_[^/]*_test.cpp$")
  list(FILTER tests EXCLUDE REGEX "/golden_[^/]*_test.cpp$")
  if(tests)
    headscope_test_program(test_${name} "${name}" "${tests}" ${ARGN})
  endif()
  if(golden)
    headscope_test_program(golden_${name} "golden;${name}" "${golden}" ${ARGN})
  endif()
endfunction()

function(headscope_test_program program labels sources)
  add_executable(${program} ${sources})
  target_include_directories(${program} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${program} PRIVATE ${ARGN} GTest::gtest_main)
  target_compile_definitions(${program} PRIVATE HEADSCOPE_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
    HEADSCOPE_BINARY_DIR="${PROJECT_BINARY_DIR}")
  # What is tested is built as people get it (but for templates that a test needs too); tests need not be fast, and
  # compile a third faster so.
  target_compile_options(${program} PRIVATE $<$<CONFIG:Release>:-O1>)
  gtest_discover_tests(${program} DISCOVERY_TIMEOUT 60 PROPERTIES LABELS "${labels}" TIMEOUT 600)
endfunction()

# headscope_embed(TARGET NAME file...): each file becomes a std::string_view headscope::assets::NAME_<file with _>,
# declared in assets/NAME.h, so that the binary carries its pages with it.
function(headscope_embed target name)
  set(header ${PROJECT_BINARY_DIR}/assets/assets/${name}.h)
  set(source ${PROJECT_BINARY_DIR}/assets/${name}.cpp)
  add_custom_command(OUTPUT ${header} ${source}
    COMMAND ${CMAKE_COMMAND} -DNAME=${name} -DHEADER=${header} -DSOURCE=${source} "-DFILES=${ARGN}"
            -P ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
    DEPENDS ${ARGN} ${PROJECT_SOURCE_DIR}/cmake/embed.cmake VERBATIM COMMENT "Embedding ${name}")
  target_sources(${target} PRIVATE ${source} ${header})
  target_include_directories(${target} PRIVATE ${PROJECT_BINARY_DIR}/assets)
endfunction()
