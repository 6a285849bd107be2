#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace headscope {

/// What a conversation is rendered with.
struct ChatOptions {
  bool add_generation_prompt = true;  ///< end where the model's answer begins
  std::string bos_token;              ///< as in tokenizer_config.json; "" when there is none
  std::string eos_token;
  std::string tools;      ///< a JSON array of functions that the model may call; "" for none
  std::string documents;  ///< a JSON array; "" for none
  /// A JSON object of further variables, for example {"enable_thinking": false}.
  std::string variables;
  std::optional<std::tm> now;  ///< for templates that print the date; the local time by default
};

/// The chat template of a model, as published in tokenizer_config.json, chat_template.jinja or GGUF
/// metadata: a Jinja2 text that turns a conversation into the prompt the model was trained on.
/// Renders what Transformers' apply_chat_template renders (Jinja 3.1, trimmed blocks, lists that
/// cannot be changed). Immutable and safe to share among threads.
class ChatTemplate {
 public:
  /// `name` is what errors call it. Errors: kInput (not a template; gives the line), kUnsupported
  /// (a tag of Jinja that no chat template has: include, import, extends ...), kResources.
  static ChatTemplate parse(std::string_view source, std::string name = "chat template");

  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  /// The prompt. `messages` is a JSON array of objects with "role" and "content", or whatever else
  /// the template reads.
  /// Cost: bounded, whatever the template: 50 million steps and 512 MiB of text at most.
  /// Errors: kInput (the template refuses the conversation, or breaks a rule of Jinja; gives the
  /// line), kFormat (not JSON), kUnsupported (a filter or test it does not know), kResources.
  [[nodiscard]] std::string render(std::string_view messages,
                                   const ChatOptions& options = {}) const;

 private:
  struct Parts;
  explicit ChatTemplate(std::unique_ptr<const Parts> parts);
  std::unique_ptr<const Parts> parts_;
};

}  // namespace headscope
