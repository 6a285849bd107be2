// The C++ side of bench/peers/tokenizers: one command in JSON a line, one line of JSON back.
//   {"load": "tokenizer.json"}   {"ms": best of three}
//   {"encode": "text"}           {"ids", "offsets" in code points, "decoded", "plain", "streamed"}
//   {"time": "texts.json"}       {"seconds", "tokens"} of encoding an array of texts
#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "headscope/error.h"
#include "headscope/tokenizer.h"

namespace {

using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

Json load(const std::string& path, std::optional<headscope::Tokenizer>& tokenizer) {
  double best = 1e9;
  for (int i = 0; i < 3; ++i) {
    const auto begin = Clock::now();
    tokenizer.emplace(headscope::Tokenizer::load(path));
    best = std::min(best, seconds_since(begin));
  }
  return {{"ms", best * 1e3}};
}

Json encode(const std::string& text, const headscope::Tokenizer& tokenizer) {
  const headscope::Encoding encoding = tokenizer.encode(text, false);
  std::vector<std::size_t> before(text.size() + 1, 0);  // code points before each byte
  for (std::size_t i = 0; i < text.size(); ++i) {
    before[i + 1] = before[i] + ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80 ? 1 : 0);
  }
  Json offsets = Json::array();
  for (const auto& range : encoding.offsets) {
    offsets.push_back(std::array{before.at(range.begin), before.at(range.end)});
  }
  std::string streamed;
  headscope::TokenStream stream(tokenizer);
  for (const std::int32_t id : encoding.ids) streamed += stream.push(id);
  streamed += stream.flush();
  const std::string decoded = tokenizer.decode(encoding.ids);
  return {{"ids", encoding.ids},
          {"offsets", offsets},
          {"decoded", decoded},
          {"plain", tokenizer.decode(encoding.ids, true)},
          {"streamed", streamed == decoded}};
}

Json time(const std::string& path, const headscope::Tokenizer& tokenizer) {
  std::ifstream file(path, std::ios::binary);
  const auto texts = Json::parse(file).get<std::vector<std::string>>();
  const auto begin = Clock::now();
  std::size_t tokens = 0;
  for (const std::string& text : texts) tokens += tokenizer.encode(text, false).ids.size();
  return {{"seconds", seconds_since(begin)}, {"tokens", tokens}};
}

Json answer(const Json& command, std::optional<headscope::Tokenizer>& tokenizer) {
  try {
    if (command.contains("load")) return load(command["load"], tokenizer);
    if (command.contains("encode")) return encode(command["encode"], tokenizer.value());
    return time(command.at("time"), tokenizer.value());
  } catch (const headscope::Error& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace

int main() {
  std::optional<headscope::Tokenizer> tokenizer;
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << answer(Json::parse(line), tokenizer).dump() << std::endl;
  }
  return 0;
}
