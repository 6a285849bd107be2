# Turns files into one C++ source of byte arrays. Called by headscope_embed.
set(declarations "")
set(definitions "")
foreach(file IN LISTS FILES)
  get_filename_component(base ${file} NAME)
  string(MAKE_C_IDENTIFIER "${NAME}_${base}" symbol)
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(APPEND declarations "extern const std::string_view ${symbol};\n")
  string(APPEND definitions "constexpr unsigned char ${symbol}_bytes[] = {${bytes}0};\n"
    "const std::string_view ${symbol}(reinterpret_cast<const char*>(${symbol}_bytes), sizeof(${symbol}_bytes) - 1);\n")
endforeach()
file(WRITE ${HEADER} "#pragma once\n#include <string_view>\nnamespace headscope::assets {\n${declarations}}\n")
file(WRITE ${SOURCE} "#include \"assets/${NAME}.h\"\nnamespace headscope::assets {\n${definitions}}\n")
