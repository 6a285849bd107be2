#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "golden/golden.h"
#include "headscope/chat_template.h"

namespace headscope {
namespace {

namespace fs = std::filesystem;

// The text under a key of a GGUF file's metadata: key, type 8, length, bytes.
std::string gguf_text(const fs::path& file, const std::string& key) {
  std::string head(std::size_t{4} << 20, '\0');
  std::ifstream(file, std::ios::binary)
      .read(head.data(), static_cast<std::streamsize>(head.size()));
  std::size_t at = head.find(key);
  if (at == std::string::npos) return {};
  at += key.size() + 4;
  std::uint64_t size = 0;
  std::memcpy(&size, head.data() + at, sizeof size);
  return head.substr(at + sizeof size, size);
}

std::string template_of(const std::string& tokenizer) {
  if (tokenizer == "smollm2") {
    return gguf_text(golden::models_dir() / "smollm2-135m" / "model.gguf",
                     "tokenizer.chat_template");
  }
  std::ifstream config(golden::data_dir() / "tokenizers" / tokenizer / "tokenizer_config.json");
  return nlohmann::json::parse(config).at("chat_template").get<std::string>();
}

TEST(GoldenChatTemplate, EveryConversation) {
  HEADSCOPE_REQUIRE_GOLDEN("tokenizers/chats.jsonl");
  HEADSCOPE_REQUIRE_MODEL("smollm2-135m");
  std::ifstream lines(golden::golden_dir() / "tokenizers" / "chats.jsonl");
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    auto chat = nlohmann::ordered_json::parse(line);
    SCOPED_TRACE(chat.at("name").get<std::string>());
    const auto source = template_of(chat.at("tokenizer").get<std::string>());
    auto& input = chat.at("input");
    ChatOptions options;
    options.add_generation_prompt = input.at("add_generation_prompt").get<bool>();
    const std::string messages = input.at("messages").dump();
    if (input.contains("tools")) options.tools = input.at("tools").dump();
    for (const char* known : {"messages", "tools", "add_generation_prompt"}) input.erase(known);
    options.variables = input.dump();
    EXPECT_EQ(ChatTemplate::parse(source).render(messages, options),
              chat.at("rendered").get<std::string>());
  }
  EXPECT_GE(count, 13);
}

}  // namespace
}  // namespace headscope
