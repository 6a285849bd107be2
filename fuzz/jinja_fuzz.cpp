// Any text as a chat template: an Error, or a prompt; always within the limits.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "headscope/error.h"
#include "law.h"
#include "tokenizers/jinja.h"

namespace {

constexpr std::string_view kVariables = R"({
  "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": " u\u00e9 "},
               {"role": "assistant", "content": null, "tool_calls": [{"name": "f", "a": {"b": 1}}]}],
  "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
  "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>", "n": 3, "x": 1.5})";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const headscope::jinja::Value variables =
      headscope::jinja::from_json(kVariables, "variables");
  headscope::jinja::Limits limits;
  limits.steps = 100'000;
  limits.bytes = std::size_t{1} << 22;
  limits.depth = 100;
  try {
    const headscope::jinja::Template parsed(
        std::string_view(reinterpret_cast<const char*>(data), size), "fuzz", limits);
    const std::string text = parsed.render(variables.dict(), std::tm{});
    law(text.size() <= limits.bytes, "a prompt is no longer than the limit");
  } catch (const headscope::Error& error) {
    law(error.code() != headscope::ErrorCode::kInternal, "an error is the template's");
  }
  return 0;
}
