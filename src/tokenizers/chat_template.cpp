#include "headscope/chat_template.h"

#include <fmt/format.h>

#include "tokenizers/jinja.h"

namespace headscope {

struct ChatTemplate::Parts {
  jinja::Template source;
};

namespace {

using jinja::Dict;
using jinja::Value;

Value require(Value value, bool is_right, std::string_view name, std::string_view expected) {
  if (is_right) return value;
  throw Error(ErrorCode::kInput,
              fmt::format("[{}] expected {}, found {}", name, expected, jinja::type_name(value)));
}

Value list_from(std::string_view json, std::string_view name) {
  Value value = jinja::from_json(json, name);
  const bool is_list = value.is_sequence();
  return require(std::move(value), is_list, name, "a JSON array");
}

Dict variables_of(std::string_view messages, const ChatOptions& options) {
  const auto list_or_none = [](const std::string& json, std::string_view name) {
    return json.empty() ? Value() : list_from(json, name);
  };
  Dict out;
  out.set(Value::of("messages"), list_from(messages, "messages"));
  out.set(Value::of("tools"), list_or_none(options.tools, "tools"));
  out.set(Value::of("documents"), list_or_none(options.documents, "documents"));
  out.set(Value::of("add_generation_prompt"), Value::of(options.add_generation_prompt));
  if (!options.bos_token.empty()) out.set(Value::of("bos_token"), Value::of(options.bos_token));
  if (!options.eos_token.empty()) out.set(Value::of("eos_token"), Value::of(options.eos_token));
  if (!options.variables.empty()) {
    Value more = jinja::from_json(options.variables, "variables");
    const bool is_dict = more.is_dict();
    more = require(std::move(more), is_dict, "variables", "a JSON object");
    for (const auto& [name, value] : more.dict().items) out.set(name, value);
  }
  return out;
}

}  // namespace

ChatTemplate ChatTemplate::parse(std::string_view source, std::string name) {
  return ChatTemplate(
      std::make_unique<const Parts>(Parts{jinja::Template(source, std::move(name))}));
}

ChatTemplate::ChatTemplate(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

std::string ChatTemplate::render(std::string_view messages, const ChatOptions& options) const {
  return parts_->source.render(variables_of(messages, options), options.now);
}

}  // namespace headscope
