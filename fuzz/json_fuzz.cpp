// Whatever the text, JSON is refused with an Error or means the same after being written again,
// and the getters answer with a value or an Error.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"
#include "law.h"

namespace {

using headscope::Error;
namespace json = headscope::json;

template <typename T>
void get(const json::Value& value, std::string_view key) {
  try {
    (void)json::get_or<T>(value, key, T(), "fuzz");
    (void)json::require<T>(value, key, "fuzz");
  } catch (const Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  json::Value value;
  try {
    value = json::parse(text, "fuzz");
  } catch (const Error& error) {
    const std::string message = error.what();
    law(message.size() < 500, "an Error is short");
    for (const char c : message) law(c >= ' ' && c <= '~', "an Error is one line of ASCII");
    return 0;
  }
  law(json::parse(value.dump(), "again") == value, "what is written reads back");
  law(json::describe(value).size() < 120, "a description is short");
  if (!value.is_object()) return 0;
  for (const auto& [key, field] : value.items()) {
    get<bool>(value, key);
    get<int>(value, key);
    get<std::uint8_t>(value, key);
    get<std::int64_t>(value, key);
    get<std::uint64_t>(value, key);
    get<float>(value, key);
    get<double>(value, key);
    get<std::string>(value, key);
    get<std::vector<std::int64_t>>(value, key);
  }
  return 0;
}
