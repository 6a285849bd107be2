// Every line of every tokenizer under golden/tokenizers: ids, offsets, decoded text and template.
// The layout is described in that folder's README; lines and tokenizers not seen before are taken
// up as they come.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "golden/golden.h"
#include "headscope/gguf.h"
#include "headscope/tokenizer.h"

namespace headscope {
namespace {

using Json = nlohmann::json;
using Path = std::filesystem::path;
using Pairs = std::vector<std::array<std::size_t, 2>>;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
constexpr bool kSanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool kSanitized = false;
#endif

std::string read_plain(const Path& file) {
  std::ifstream in(file, std::ios::binary);
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}

std::string read_xz(const Path& file) {
  const std::string command = "xz -dc '" + file.string() + "' 2>&-";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), &pclose);
  std::string out;
  std::array<char, 65536> buffer{};
  while (pipe) {
    const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), pipe.get());
    if (got == 0) break;
    out.append(buffer.data(), got);
  }
  return out;
}

/// The text of a tokenizer.json in a folder, plain or packed; nothing when it is absent.
std::optional<std::string> tokenizer_json(const Path& folder) {
  const Path plain = folder / "tokenizer.json";
  if (std::filesystem::exists(plain)) return read_plain(plain);
  const Path packed = folder / "tokenizer.json.xz";
  if (!std::filesystem::exists(packed)) return std::nullopt;
  std::string text = read_xz(packed);
  if (text.empty()) return std::nullopt;  // no xz here
  return text;
}

/// A tokenizer that goldens name: a folder under data/tokenizers, or a model in GGUF.
std::optional<Tokenizer> find_tokenizer(const std::string& name) {
  if (const auto json = tokenizer_json(golden::data_dir() / "tokenizers" / name)) {
    return Tokenizer::parse(*json, name);
  }
  for (const Path& folder :
       {golden::models_dir() / name, golden::models_dir() / (name + "-135m")}) {
    if (std::filesystem::exists(folder / "tokenizer.json")) return Tokenizer::load(folder);
    for (const char* gguf : {"model.gguf", "stories260K.gguf"}) {
      if (!std::filesystem::exists(folder / gguf)) continue;
      const Gguf file = Gguf::open(folder / gguf);
      return Tokenizer::from_gguf(file.metadata(), file.name());
    }
  }
  return std::nullopt;
}

std::vector<Json> read_lines(const Path& file) {
  std::vector<Json> out;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) out.push_back(Json::parse(line));
  }
  return out;
}

/// Goldens count code points, the library bytes.
Pairs in_code_points(const std::string& text, const std::vector<ByteRange>& offsets) {
  std::vector<std::size_t> before(text.size() + 1, 0);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool begins = (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
    before[i + 1] = before[i] + (begins ? 1 : 0);
  }
  Pairs out;
  for (const ByteRange& one : offsets) out.push_back({before.at(one.begin), before.at(one.end)});
  return out;
}

std::vector<std::int32_t> template_of(const Json& header, const char* side) {
  return header.at("template").at(side).get<std::vector<std::int32_t>>();
}

/// What a stream gives; each piece must be UTF-8 by itself.
std::string streamed(const Tokenizer& tokenizer, const std::vector<std::int32_t>& ids) {
  TokenStream stream(tokenizer);
  std::string out;
  const auto take = [&out](std::string_view piece) {
    const bool begins = piece.empty() || (static_cast<unsigned char>(piece[0]) & 0xC0) != 0x80;
    EXPECT_TRUE(begins) << "a piece begins inside of a character";
    out += piece;
  };
  for (const std::int32_t id : ids) take(stream.push(id));
  take(stream.flush());
  return out;
}

void check_line(const Tokenizer& tokenizer, const Json& header, const Json& line) {
  const auto text = line.at("text").get<std::string>();
  SCOPED_TRACE(line.at("text").dump(-1, ' ', true));
  const Encoding plain = tokenizer.encode(text, false);
  const auto ids = line.at("ids").get<std::vector<std::int32_t>>();
  EXPECT_EQ(plain.ids, ids);
  EXPECT_EQ(in_code_points(text, plain.offsets), line.at("offsets").get<Pairs>());
  const auto decoded = line.at("decoded").get<std::string>();
  EXPECT_EQ(tokenizer.decode(ids), decoded);
  EXPECT_EQ(tokenizer.decode(ids, true), line.value("decoded_without_special", decoded));
  EXPECT_EQ(streamed(tokenizer, ids), decoded);

  auto full = template_of(header, "before");
  full.insert(full.end(), ids.begin(), ids.end());
  const auto after = template_of(header, "after");
  full.insert(full.end(), after.begin(), after.end());
  EXPECT_EQ(tokenizer.encode(text).ids, full);
}

void check_all(const Tokenizer& tokenizer,
               const std::string& name,
               const std::vector<Json>& lines) {
  SCOPED_TRACE(name);
  EXPECT_EQ(lines.size() - 1, lines[0].at("lines").get<std::size_t>());
  for (std::size_t i = 1; i < lines.size(); ++i) check_line(tokenizer, lines[0], lines[i]);
}

TEST(GoldenTokenizers, EveryLineOfEveryTokenizer) {
  HEADSCOPE_REQUIRE_GOLDEN("tokenizers");
  std::size_t checked = 0;
  for (const Path& file : golden::files("tokenizers", ".jsonl")) {
    const std::string name = file.stem().string();
    const std::vector<Json> lines = read_lines(file);
    ASSERT_FALSE(lines.empty()) << name;
    if (!lines[0].contains("template")) {
      golden::leave_out(name, "not yet: chat templates");
      continue;
    }
    const auto tokenizer = find_tokenizer(lines[0].at("tokenizer").get<std::string>());
    if (!tokenizer) {
      golden::leave_out(name, "its tokenizer is not beside the goldens (or no xz to unpack it)");
      continue;
    }
    check_all(*tokenizer, name, lines);
    ++checked;
  }
  if (checked == 0) GTEST_SKIP() << "no tokenizer beside the goldens (or no xz)";
}

TEST(GoldenTokenizers, VocabulariesOfGgufFilesLoadInATenthOfASecond) {
  HEADSCOPE_REQUIRE_MODEL("smollm2-135m");
  const Gguf file = Gguf::open(golden::models_dir() / "smollm2-135m" / "model.gguf");
  const auto begin = std::chrono::steady_clock::now();
  const Tokenizer tokenizer = Tokenizer::from_gguf(file.metadata(), file.name());
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(tokenizer.vocabulary_size(), 49152);
  RecordProperty("milliseconds", std::to_string(passed.count() * 1e3));
  EXPECT_LT(passed.count(), 2.0);  // 0.1 on a machine that nobody else uses
}

// One second on a machine that nobody else uses; anything quadratic would take minutes.
TEST(GoldenTokenizers, AMegabyteWithoutSpacesEndsInThreeSeconds) {
  constexpr std::size_t kSize = 1'000'000;
  std::uint64_t state = 7;
  const auto random = [&state](std::uint64_t n) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<char>((state >> 40) % n);
  };
  std::string letters, cyrillic, digits, marks, bytes;
  while (letters.size() < kSize) letters += static_cast<char>('a' + random(26));
  while (cyrillic.size() < kSize)
    cyrillic += std::string("\xD0") + static_cast<char>(0xB0 + random(16));
  while (digits.size() < kSize) digits += static_cast<char>('0' + random(10));
  while (marks.size() < kSize) marks += "!?#$%&*+-=/"[static_cast<std::size_t>(random(11))];
  while (bytes.size() < kSize)
    bytes += std::string("\xF0\x9F\x98") + static_cast<char>(0x80 + random(64));
  const std::pair<const char*, std::string> words[] = {{"one letter", std::string(kSize, 'a')},
                                                       {"letters", letters},
                                                       {"cyrillic", cyrillic},
                                                       {"digits", digits},
                                                       {"marks", marks},
                                                       {"emoji", bytes}};
  std::size_t checked = 0;
  for (const char* name : {"bert", "qwen3", "whisper", "smollm2", "stories260k", "minilm-l6"}) {
    const auto tokenizer = find_tokenizer(name);
    if (!tokenizer) continue;
    ++checked;
    for (const auto& [kind, word] : words) {
      const auto begin = std::chrono::steady_clock::now();
      EXPECT_FALSE(tokenizer->encode(word, false).ids.empty()) << name;
      const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
      RecordProperty(std::string(name) + " " + kind + " ms", std::to_string(passed.count() * 1e3));
      EXPECT_LT(passed.count(), kSanitized ? 60.0 : 3.0) << name << ' ' << kind;
    }
  }
  if (checked == 0) GTEST_SKIP() << "no tokenizer beside the goldens (or no xz)";
}

TEST(GoldenTokenizers, SentencePieceOfAGgufFileGivesTextsBack) {
  HEADSCOPE_REQUIRE_MODEL("stories260k");
  const Gguf file = Gguf::open(golden::models_dir() / "stories260k" / "stories260K.gguf");
  const Tokenizer tokenizer = Tokenizer::from_gguf(file.metadata(), file.name());
  const std::string story =
      "Once upon a time, there was a little girl named Lily. \u00e9\U0001F600\n";
  const Encoding encoding = tokenizer.encode(story);
  EXPECT_EQ(tokenizer.decode(encoding.ids, true), story);
  EXPECT_EQ(streamed(tokenizer, encoding.ids), "<s> " + story);
  const std::vector<std::string> first(encoding.tokens.begin(), encoding.tokens.begin() + 6);
  const std::vector<std::string> expected{
      "<s>", "\u2581Once", "\u2581upon", "\u2581a", "\u2581time", ","};
  EXPECT_EQ(first, expected);
  EXPECT_EQ(encoding.tokens.back(), "<0x0A>");
}

TEST(GoldenTokenizers, MiniLmSplitsAsBertDoes) {
  HEADSCOPE_REQUIRE_GOLDEN("tokenizers/bert.jsonl");
  HEADSCOPE_REQUIRE_MODEL("minilm-l6");
  const auto json = tokenizer_json(golden::models_dir() / "minilm-l6");
  ASSERT_TRUE(json);
  check_all(Tokenizer::parse(*json, "minilm-l6"),
            "minilm-l6",
            read_lines(golden::golden_dir() / "tokenizers" / "bert.jsonl"));
}

}  // namespace
}  // namespace headscope
