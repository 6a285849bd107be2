// Speech to text: a tiny Whisper of random weights writes down nonsense, but the right nonsense.
#include "headscope/transcribe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "models/tiny_whisper.h"

namespace headscope {
namespace {

using test::TinyPair;

using test::hum;
using test::TinyWhisper;
constexpr std::int32_t kEnd = TinyWhisper::kEnd, kStart = TinyWhisper::kStart,
                       kTranslate = TinyWhisper::kTranslate, kTranscribe = TinyWhisper::kTranscribe,
                       kNoTimes = TinyWhisper::kNoTimes;
constexpr std::int64_t kVocabulary = TinyWhisper::kVocabulary;

// Without a cache: the whole answer anew for every token.
std::vector<std::int32_t> plain_answer(const Model& model,
                                       const Audio& audio,
                                       std::vector<std::int32_t> said,
                                       std::int64_t most) {
  const std::size_t begun = said.size();
  while (static_cast<std::int64_t>(said.size() - begun) < most) {
    Tokens t = model.tokens(audio);
    t.decoder_ids = Tensor(DType::kI32, {1, static_cast<std::int64_t>(said.size())});
    std::ranges::copy(said, t.decoder_ids.span<std::int32_t>().begin());
    headscope::Run run = model.run(t);
    const auto row = run.logits.span<float>().last(static_cast<std::size_t>(model.vocabulary()));
    constexpr float kNever = -std::numeric_limits<float>::infinity();
    row[7] = row[8] = kNever;
    if (said.size() == begun) row[220] = row[kEnd] = kNever;
    const auto best = static_cast<std::int32_t>(std::ranges::max_element(row) - row.begin());
    if (best == kEnd) break;
    said.push_back(best);
  }
  return {said.begin() + static_cast<std::ptrdiff_t>(begun), said.end()};
}

TEST(Transcribe, WritesWhatThePlainLoopWrites) {
  const TinyWhisper whisper;
  const Audio audio = hum(0.7);
  const Transcript found = transcribe(whisper.model, audio, {.most = 6});
  ASSERT_EQ(found.parts.size(), 1U);

  Tokens t = whisper.model.tokens(audio);
  t.decoder_ids = Tensor(DType::kI32, {1, 1});
  t.decoder_ids.span<std::int32_t>()[0] = kStart;
  const headscope::Run first = whisper.model.run(t);
  const auto row = first.logits.span<float>();
  const auto language = static_cast<std::int32_t>(
      std::max_element(row.begin() + kStart + 1, row.begin() + kTranslate) - row.begin());
  EXPECT_EQ(found.language, "l" + std::to_string(language - kStart - 1));
  std::vector<std::int32_t> expected =
      plain_answer(whisper.model, audio, {kStart, language, kTranscribe, kNoTimes}, 6);
  std::erase_if(expected, [](std::int32_t id) { return id > kNoTimes; });
  EXPECT_EQ(found.parts[0].ids, expected);
  EXPECT_FALSE(expected.empty());
  EXPECT_EQ(found.text, found.parts[0].text);
}

TEST(Transcribe, TextStreamsAndALanguageAndTranslationCanBeAskedFor) {
  const TinyWhisper whisper;
  const Audio audio = hum(0.5);
  std::string streamed;
  const Transcript found = transcribe(
      whisper.model,
      audio,
      {.language = "l3", .translate = true, .most = 4, .on_text = [&](std::string_view piece) {
         streamed += piece;
       }});
  EXPECT_EQ(found.language, "l3");
  EXPECT_EQ(streamed, found.text);
  std::vector<std::int32_t> expected =
      plain_answer(whisper.model, audio, {kStart, kStart + 4, kTranslate, kNoTimes}, 4);
  std::erase_if(expected, [](std::int32_t id) { return id > kNoTimes; });
  EXPECT_EQ(found.parts[0].ids, expected);
}

TEST(Transcribe, ALongSoundIsCutWhereItIsQuietest) {
  const TinyWhisper whisper;
  Audio audio = hum(2.5);
  // Silence from 0.90 to 1.0 s: a window holds 1 s, its last sixth begins at 0.833 s.
  std::fill(audio.samples.begin() + 14400, audio.samples.begin() + 16000, 0.0F);
  const Transcript found = transcribe(whisper.model, audio, {.language = "l0", .most = 1});
  ASSERT_GE(found.parts.size(), 3U);
  EXPECT_NEAR(found.parts[0].end, 0.95, 0.051);
  EXPECT_EQ(found.parts.front().begin, 0.0);
  EXPECT_EQ(found.parts.back().end, 2.5);
  std::string text;
  for (std::size_t n = 0; n < found.parts.size(); ++n) {
    if (n > 0) {
      EXPECT_EQ(found.parts[n].begin, found.parts[n - 1].end);
    }
    EXPECT_LE(found.parts[n].end - found.parts[n].begin, 1.0 + 1e-9);
    text += found.parts[n].text;
  }
  EXPECT_EQ(found.text, text);
}

TEST(Transcribe, AHeadThatIsSwitchedOffChangesWhatIsHeard) {
  const TinyWhisper whisper;
  const Audio audio = hum(0.7);
  TranscribeOptions options{.language = "l0", .most = 6};
  const Transcript plain = transcribe(whisper.model, audio, options);
  for (int layer = 0; layer < whisper.model.layers(); ++layer) {
    for (int head = 0; head < whisper.model.heads(layer); ++head) {
      Edit edit;
      edit.layer = layer;
      edit.head = head;
      options.edits.push_back(edit);
    }
  }
  EXPECT_NE(transcribe(whisper.model, audio, options).parts[0].ids, plain.parts[0].ids);
}

TEST(Transcribe, RefusesWhatItCannotDo) {
  const TinyWhisper whisper;
  const auto code = [](auto&& body) {
    try {
      body();
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      return error.code();
    }
    return ErrorCode::kInternal;
  };
  EXPECT_EQ(code([&] { (void)transcribe(whisper.model, {{}, 16000}); }), ErrorCode::kInput);
  EXPECT_EQ(code([&] { (void)transcribe(whisper.model, hum(0.1), {.language = "xx"}); }),
            ErrorCode::kUsage);
  EXPECT_EQ(code([&] { (void)whisper.model.tokens(hum(1.1)); }), ErrorCode::kInput);
  const TinyPair bart(TinyPair::Kind::kBart);
  const Model reads = bart.load();
  EXPECT_EQ(code([&] { (void)transcribe(reads, hum(0.1)); }), ErrorCode::kUnsupported);
  EXPECT_EQ(code([&] { (void)reads.tokens(hum(0.1)); }), ErrorCode::kUnsupported);
  const TinyPair bare(TinyPair::Kind::kWhisper);  // no tokenizer
  const Model mute = bare.load();
  EXPECT_EQ(code([&] { (void)transcribe(mute, hum(0.1)); }), ErrorCode::kNotFound);
  const TinyWhisper english(kVocabulary - 1);
  EXPECT_EQ(code([&] { (void)transcribe(english.model, hum(0.1), {.language = "l0"}); }),
            ErrorCode::kUsage);
  EXPECT_EQ(transcribe(english.model, hum(0.1), {.most = 1}).language, "");
}

}  // namespace
}  // namespace headscope
