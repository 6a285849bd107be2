// Anything as a tokenizer.json: an Error, or a tokenizer that works.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "headscope/error.h"
#include "headscope/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  try {
    const auto tokenizer = headscope::Tokenizer::parse(json, "fuzz");
    const auto encoding = tokenizer.encode_pair("a[MASK] b\xC3\x89, \xE4\xB8\xAD\xCC\x81!", "a b");
    (void)tokenizer.vocabulary_size();
    for (const std::int32_t id : encoding.ids) {
      if (tokenizer.id_of("a") == id) (void)tokenizer.token_of(id);
    }
  } catch (const headscope::Error&) {
    // what is wrong with it has been said
  }
  return 0;
}
