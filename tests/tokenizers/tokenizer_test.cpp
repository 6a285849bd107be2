#include "headscope/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "headscope/error.h"
#include "tokenizers/small_bert.h"

namespace headscope {
namespace {

using Ids = std::vector<std::int32_t>;
using small_bert::added;
using small_bert::make;

Tokenizer bert() { return make(small_bert::file()); }

ErrorCode code_of(const auto& work, std::string* message = nullptr) {
  try {
    work();
  } catch (const Error& error) {
    if (message != nullptr) *message = error.what();
    return error.code();
  }
  return ErrorCode::kInternal;
}

std::string slice(const std::string& text, ByteRange range) {
  return text.substr(range.begin, range.end - range.begin);
}

TEST(Tokenizer, LongestPiecesComeFirstAndOffsetsPointIntoTheOriginal) {
  const std::string text = "The  KINGS, playing.";
  const Encoding got = bert().encode(text, false);
  EXPECT_EQ(got.ids, (Ids{5, 6, 7, 11, 8, 9, 12}));
  EXPECT_EQ(got.words, (Ids{0, 1, 1, 2, 3, 3, 4}));
  EXPECT_EQ(got.tokens[5], "##ing");
  EXPECT_EQ(slice(text, got.offsets[1]), "KING");
  EXPECT_EQ(slice(text, got.offsets[2]), "S");
  EXPECT_EQ(slice(text, got.offsets[5]), "ing");
}

TEST(Tokenizer, AllVectorsHaveOneEntryAToken) {
  const Encoding got = bert().encode_pair("the [MASK] kings", "café 中");
  const std::size_t n = got.ids.size();
  EXPECT_EQ(got.type_ids.size(), n);
  EXPECT_EQ(got.offsets.size(), n);
  EXPECT_EQ(got.tokens.size(), n);
  EXPECT_EQ(got.words.size(), n);
  EXPECT_EQ(got.special.size(), n);
}

TEST(Tokenizer, TemplateGoesAroundOneText) {
  const Encoding got = bert().encode("the king");
  EXPECT_EQ(got.ids, (Ids{2, 5, 6, 3}));
  EXPECT_EQ(got.words, (Ids{-1, 0, 1, -1}));
  EXPECT_EQ(got.special, (std::vector<std::uint8_t>{1, 0, 0, 1}));
  EXPECT_EQ(got.offsets[0], ByteRange{});
  EXPECT_EQ(got.tokens[3], "[SEP]");
}

TEST(Tokenizer, TemplateJoinsAPairWithTypes) {
  const Encoding got = bert().encode_pair("the king", "a king");
  EXPECT_EQ(got.ids, (Ids{2, 5, 6, 3, 13, 6, 3}));
  EXPECT_EQ(got.type_ids, (Ids{0, 0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(got.words, (Ids{-1, 0, 1, -1, 0, 1, -1}));
  EXPECT_EQ(got.offsets[4], (ByteRange{0, 1}));
  EXPECT_EQ(bert().encode_pair("the king", "a king", false).type_ids, (Ids{0, 0, 1, 1}));
}

TEST(Tokenizer, BertProcessingDoesAsTheTemplate) {
  auto json = small_bert::file();
  json["post_processor"] = {
      {"type", "BertProcessing"}, {"sep", {"[SEP]", 3}}, {"cls", {"[CLS]", 2}}};
  const Tokenizer other = make(json);
  const Encoding want = bert().encode_pair("the king", "a king");
  const Encoding got = other.encode_pair("the king", "a king");
  EXPECT_EQ(got.ids, want.ids);
  EXPECT_EQ(got.type_ids, want.type_ids);
  EXPECT_EQ(got.special, want.special);
  EXPECT_EQ(other.encode("the king").ids, (Ids{2, 5, 6, 3}));
  EXPECT_EQ(other.encode("the king", false).ids, (Ids{5, 6}));
}

TEST(Tokenizer, TemplateMayPutTheSecondTextFirstAndSeveralTokensAtOnce) {
  auto json = small_bert::file();
  auto& post = json["post_processor"];
  post["special_tokens"]["two"] = {{"id", "two"}, {"ids", {3, 4}}, {"tokens", {"[SEP]", "[MASK]"}}};
  post["pair"] = {{{"Sequence", {{"id", "B"}, {"type_id", 5}}}},
                  {{"SpecialToken", {{"id", "two"}, {"type_id", 6}}}},
                  {{"Sequence", {{"id", "A"}, {"type_id", 7}}}}};
  const Encoding got = make(json).encode_pair("the", "king");
  EXPECT_EQ(got.ids, (Ids{6, 3, 4, 5}));
  EXPECT_EQ(got.type_ids, (Ids{5, 6, 6, 7}));
}

TEST(Tokenizer, WordsThatCannotBeToldAreUnknownWhole) {
  const std::string text = "kingz the";
  const Encoding got = bert().encode(text, false);
  EXPECT_EQ(got.ids, (Ids{1, 5}));
  EXPECT_EQ(slice(text, got.offsets[0]), "kingz");
  EXPECT_EQ(bert().encode(std::string(100, 'a'), false).ids.size(), 100U);
  EXPECT_EQ(bert().encode(std::string(101, 'a'), false).ids, (Ids{1}));
}

TEST(Tokenizer, EmptyAndBlankTextsHaveNoTokens) {
  for (const char* text : {"", " ", "\t\n", "\xE2\x80\x8B"}) {
    EXPECT_TRUE(bert().encode(text, false).ids.empty());
    EXPECT_EQ(bert().encode(text).ids, (Ids{2, 3}));
  }
}

TEST(Tokenizer, AddedTokensAreFoundBeforeAnythingElse) {
  const std::string text = "the[MASK]king [mask]";
  const Encoding got = bert().encode(text, false);
  EXPECT_EQ(Ids(got.ids.begin(), got.ids.begin() + 3), (Ids{5, 4, 6}));
  EXPECT_EQ(slice(text, got.offsets[1]), "[MASK]");
  EXPECT_EQ(got.special[1], 1);
  EXPECT_EQ(got.words[1], 1);
  EXPECT_EQ(got.ids.size(), 6U);  // [mask] in small letters is three words, all unknown
}

TEST(Tokenizer, NewAddedTokensGetTheNextFreeIds) {
  auto json = small_bert::file();
  json["added_tokens"].push_back(added("<x>", 99, true));
  json["added_tokens"].push_back(added("<y>", 7, true));
  const Tokenizer tokenizer = make(json);
  EXPECT_EQ(tokenizer.vocabulary_size(), 24);
  EXPECT_EQ(tokenizer.id_of("<x>"), 22);
  EXPECT_EQ(tokenizer.token_of(23), "<y>");
  EXPECT_EQ(tokenizer.encode("a<y><x>", false).ids, (Ids{13, 23, 22}));
}

TEST(Tokenizer, StrippingAddedTokensTakeTheSpaceBesideThem) {
  auto json = small_bert::file();
  json["added_tokens"][4]["lstrip"] = true;
  json["added_tokens"][4]["rstrip"] = true;
  const Encoding got = make(json).encode("the \t[MASK]  king", false);
  EXPECT_EQ(got.ids, (Ids{5, 4, 6}));
  EXPECT_EQ(got.offsets[1], (ByteRange{3, 13}));
}

TEST(Tokenizer, SingleWordAddedTokensDoNotMatchInsideWords) {
  auto json = small_bert::file();
  json["added_tokens"].push_back(added("in", 22, false));
  json["added_tokens"].back()["single_word"] = true;
  const Tokenizer tokenizer = make(json);
  EXPECT_EQ(tokenizer.encode("king", false).ids, (Ids{6}));
  EXPECT_EQ(tokenizer.encode("a in.", false).ids, (Ids{13, 22, 12}));
}

TEST(Tokenizer, NormalizedAddedTokensMatchTheNormalisedText) {
  auto json = small_bert::file();
  json["added_tokens"].push_back(added("Éx", 22, false));
  const std::string text = "the \xC3\x89X";
  const Encoding got = make(json).encode(text, false);
  EXPECT_EQ(got.ids, (Ids{5, 22}));
  EXPECT_EQ(slice(text, got.offsets[1]), "\xC3\x89X");
  EXPECT_EQ(got.tokens[1], "Éx");
}

TEST(Tokenizer, TheLongestOfOverlappingAddedTokensWins) {
  auto json = small_bert::file();
  json["added_tokens"].push_back(added("<a>", 22, true));
  json["added_tokens"].push_back(added("<a><b>", 23, true));
  EXPECT_EQ(make(json).encode("<a><b><a>", false).ids, (Ids{23, 22}));
}

TEST(Tokenizer, DecodingJoinsPiecesAndCleansUp) {
  const Tokenizer tokenizer = bert();
  EXPECT_EQ(tokenizer.decode(Ids{2, 5, 6, 7, 11, 8, 9, 12, 3}), "[CLS] the kings, playing. [SEP]");
  EXPECT_EQ(tokenizer.decode(Ids{2, 5, 6, 7, 3}, true), "the kings");
  EXPECT_EQ(tokenizer.decode(Ids{7, 7}), "##ss");  // a first piece keeps its prefix
  EXPECT_EQ(tokenizer.decode(Ids{}), "");
}

TEST(Tokenizer, DecodingWithoutDecoderJoinsWithSpaces) {
  auto json = small_bert::file();
  json["decoder"] = nullptr;
  EXPECT_EQ(make(json).decode(Ids{6, 7, 12}), "king ##s .");
}

TEST(Tokenizer, DecodingWithoutCleanupLeavesSpaces) {
  auto json = small_bert::file();
  json["decoder"]["cleanup"] = false;
  EXPECT_EQ(make(json).decode(Ids{6, 7, 12}), "kings .");
}

TEST(Tokenizer, IdsOutsideTheVocabularyAreAnError) {
  const Tokenizer tokenizer = bert();
  std::string message;
  EXPECT_EQ(code_of([&] { (void)tokenizer.decode(Ids{22}); }, &message), ErrorCode::kRange);
  EXPECT_EQ(message, "[tokenizer] expected the id of one of 22 tokens, found 22");
  EXPECT_EQ(code_of([&] { (void)tokenizer.token_of(-1); }), ErrorCode::kRange);
  EXPECT_EQ(tokenizer.id_of("no such"), -1);
  EXPECT_EQ(tokenizer.unknown_id(), 1);
}

TEST(Tokenizer, TextThatIsNotUtf8NamesTheByte) {
  const Tokenizer tokenizer = bert();
  const std::pair<std::string, std::string> cases[] = {{"a\xFFz", "0xFF at offset 1"},
                                                       {"ab\x80", "0x80 at offset 2"},
                                                       {"\xC0\xAF", "0xC0 at offset 0"},
                                                       {"a\xE2\x82", "0xE2 at offset 1"},
                                                       {"\xED\xA0\x80", "0xED at offset 0"},
                                                       {"\xF4\x90\x80\x80", "0xF4 at offset 0"},
                                                       {"\xE0\x80\x80", "0xE0 at offset 0"},
                                                       {"\xC3\xA9\xC3", "0xC3 at offset 2"},
                                                       {"\xF0\x82\x82\xAC", "0xF0 at offset 0"},
                                                       {"z\xC3(", "0xC3 at offset 1"}};
  for (const auto& one : cases) {
    std::string message;
    EXPECT_EQ(code_of([&] { (void)tokenizer.encode(one.first); }, &message), ErrorCode::kInput);
    EXPECT_EQ(message, "[tokenizer] expected UTF-8 text, found byte " + one.second);
  }
}

TEST(Tokenizer, OffsetsOfPlainTextAreMonotoneAndOnCodePoints) {
  const std::string text =
      "The kings' café: 中文 İI\xCC\x87 play\xCC\x81ing, don't! \xF0\x9F\x99\x82 [MASK] é";
  const Encoding got = bert().encode(text, false);
  std::size_t last = 0;
  for (const ByteRange& range : got.offsets) {
    EXPECT_LE(last, range.begin);
    EXPECT_LE(range.begin, range.end);
    ASSERT_LE(range.end, text.size());
    for (const std::size_t at : {range.begin, range.end}) {
      EXPECT_TRUE(at == text.size() || (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80);
    }
    last = range.end;
  }
}

TEST(Tokenizer, AMegabyteOfAnythingEndsSoon) {
  auto json = small_bert::file();
  json["model"]["max_input_chars_per_word"] = 100'000'000;
  const Tokenizer usual = bert();
  const Tokenizer patient = make(json);
  constexpr std::size_t size = 1 << 20;
  std::string sentences, marks, brackets;
  while (sentences.size() < size) sentences += "The kings, playing caf\xC3\xA9! ";
  while (marks.size() < size) marks += "\xCC\x81\xCC\xA3";
  while (brackets.size() < size) brackets += "[MAS";
  const std::string word(size, 'a');
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(usual.encode(word, false).ids, (Ids{1}));
  EXPECT_EQ(patient.encode(word, false).ids.size(), size);
  EXPECT_GT(usual.encode(sentences, false).ids.size(), size / 6);
  EXPECT_TRUE(usual.encode(marks, false).ids.empty());
  EXPECT_FALSE(usual.encode(brackets, false).ids.empty());
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  RecordProperty("seconds", std::to_string(took.count()));
  // five texts; generous, for sanitizers and busy machines, yet far below anything quadratic
  EXPECT_LT(took.count(), 60.0);
}

TEST(Tokenizer, LoadsAFileOrTheFolderThatHoldsIt) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "headscope-tokenizer-load";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "tokenizer.json") << small_bert::file().dump();
  EXPECT_EQ(Tokenizer::load(folder).vocabulary_size(), 22);
  EXPECT_EQ(Tokenizer::load(folder / "tokenizer.json").id_of("king"), 6);
  std::filesystem::remove_all(folder);
  EXPECT_EQ(code_of([&] { (void)Tokenizer::load(folder); }), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace headscope
