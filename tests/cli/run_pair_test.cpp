// `headscope run` with models of two stacks, which answer a text or write down a sound, and past the context.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/app.h"
#include "formats/json.h"
#include "headscope/generate.h"
#include "headscope/transcribe.h"
#include "media/made_wav.h"
#include "models/tiny_decoder.h"
#include "models/tiny_pair.h"
#include "models/tiny_whisper.h"
#include "models/tiny_words.h"

namespace headscope::cli {
namespace {

using Ids = std::vector<std::int32_t>;
using test::TinyPair;

struct Outcome {
  int status = 0;
  std::string out, complaint;
};

Outcome call(std::vector<std::string> words) {
  words.insert(words.begin(), "run");
  Outcome outcome;
  outcome.status = run(words, outcome.out, outcome.complaint);
  return outcome;
}

nlohmann::json json_of(std::vector<std::string> words) {
  words.emplace_back("--json");
  const Outcome outcome = call(words);
  EXPECT_EQ(outcome.status, 0) << outcome.complaint;
  return nlohmann::json::parse(outcome.out);
}

void expect_line(std::vector<std::string> words, const std::string& part) {
  const Outcome outcome = call(words);
  EXPECT_NE(outcome.status, 0) << part;
  EXPECT_NE(outcome.complaint.find(part), std::string::npos) << outcome.complaint << " / " << part;
  EXPECT_EQ(outcome.complaint.find('\n'), std::string::npos);
  EXPECT_TRUE(outcome.out.empty()) << outcome.out;
}

std::string text_of(const Ids& ids) {
  std::string out;
  for (const std::int32_t id : ids) out += (out.empty() ? "w" : " w") + std::to_string(id);
  return out;
}

Tensor row_of(const Ids& ids) {
  Tensor out(DType::kI32, {1, static_cast<std::int64_t>(ids.size())});
  std::ranges::copy(ids, out.span<std::int32_t>().begin());
  return out;
}

Ids some_ids(int n) {
  Ids out;
  for (int i = 0; i < n; ++i) out.push_back((11 * i + 4) % 30);
  return out;
}

Ids tokens_in(const nlohmann::json& found) {
  Ids out;
  for (const auto& token : found["tokens"]) out.push_back(token["id"].get<std::int32_t>());
  return out;
}

// Without a cache: the whole answer anew for every token.
Ids plain_answer(const Model& model,
                 const Ids& input,
                 std::size_t most,
                 const std::vector<Edit>& edits) {
  Ids said = model.generation().begin;
  const std::size_t begun = said.size();
  RunOptions options;
  options.edits = edits;
  while (said.size() - begun < most) {
    Tokens t;
    t.ids = row_of(input);
    t.decoder_ids = row_of(said);
    const headscope::Run run = model.run(t, options);
    const auto row = run.logits.span<float>().last(static_cast<std::size_t>(model.vocabulary()));
    const auto best = static_cast<std::int32_t>(std::ranges::max_element(row) - row.begin());
    if (std::ranges::count(model.generation().stop_ids, best) > 0) break;
    said.push_back(best);
  }
  return {said.begin() + static_cast<std::ptrdiff_t>(begun), said.end()};
}

TEST(RunPair, AnswersWithTheLikeliestTokensOfWholeRuns) {
  for (const auto kind : {TinyPair::Kind::kT5, TinyPair::Kind::kBart}) {
    const TinyPair tiny(kind);
    const std::string folder = test::with_words(tiny.folder(), 30);
    const Model model = Model::load(folder);
    for (const int n : {1, 5, 13}) {
      const Ids input = some_ids(n);
      const auto found = json_of({folder, text_of(input), "-n", "9"});
      EXPECT_EQ(found["prompt_ids"].get<Ids>(), input);
      const Ids expected = plain_answer(model, input, 9, {});
      EXPECT_EQ(tokens_in(found), expected);
      EXPECT_EQ(found["text"], text_of(expected));
    }
    // A head of the second cross attention, whose layer has as many heads as the decoder.
    Edit edit;
    edit.layer = 6;
    edit.head = 3;
    const auto edited = json_of({folder, text_of(some_ids(5)), "-n", "9", "--zero", "6.3"});
    EXPECT_EQ(tokens_in(edited), plain_answer(model, some_ids(5), 9, {edit}));
    const auto looked = json_of({folder, text_of(some_ids(5)), "-n", "3", "--look"});
    for (const auto& token : looked["tokens"]) {
      for (const auto& look : token["looks"]) EXPECT_LT(look["position"].get<int>(), 5);
    }
  }
}

TEST(RunPair, ALongInputIsRefusedOrLosesItsBeginning) {
  const TinyPair tiny(TinyPair::Kind::kBart);  // reads 20 tokens
  const std::string folder = test::with_words(tiny.folder(), 30);
  const Ids input = some_ids(27);
  for (const char* part : {"at most 20 tokens, found 27: 7 too many", "--truncate", "--window"})
    expect_line({folder, text_of(input)}, part);
  const auto found = json_of({folder, text_of(input), "--truncate", "-n", "2"});
  EXPECT_EQ(found["prompt_ids"].get<Ids>(), Ids(input.begin() + 7, input.end()));
}

TEST(RunWindow, APromptPastTheContextKeepsItsEndsAndTheAnswerGoesOn) {
  const test::TinyDecoder tiny;
  const std::string folder = test::with_words(tiny.folder(), 40);
  const Ids prompt = some_ids(23);
  for (const char* part : {"at most 12 tokens, found 23: 11 too many", "--truncate", "--window"})
    expect_line({folder, text_of(prompt), "--context", "12"}, part);
  const auto cut = json_of({folder, text_of(prompt), "--context", "12", "--truncate"});
  EXPECT_EQ(cut["ended"], "full");
  EXPECT_EQ(cut["prompt_ids"].get<Ids>(), Ids(prompt.end() - 6, prompt.end()));

  const std::vector<std::string> words = {
      folder, text_of(prompt), "--context", "12", "--window", "-n", "40", "--look"};
  const auto found = json_of(words);
  EXPECT_EQ(found["ended"], "length");
  Ids kept{prompt[0]};
  kept.insert(kept.end(), prompt.end() - 5, prompt.end());
  EXPECT_EQ(found["prompt_ids"].get<Ids>(), kept);
  GenerateOptions options;
  options.positions = 12;
  options.slide = true;
  options.most = 40;
  const Model model = Model::load(folder);
  Generator generator(model, options);
  generator.read(kept);
  while (generator.step()) continue;
  EXPECT_EQ(tokens_in(found), generator.answer());
  // Looks count all tokens, those that slid out too: the last tokens look at what is still there.
  for (int n = 0; n < 40; ++n) {
    for (const auto& look : found["tokens"][static_cast<std::size_t>(n)]["looks"]) {
      const int position = look["position"].get<int>();
      EXPECT_LT(position, 6 + n);
      EXPECT_GE(position, 6 + n - 12);
    }
  }
}

// What is advised is what this model takes: a table of positions has no row for a longer context.
TEST(RunWindow, AContextPastTheTableSaysWhatHelpsAndIsNotAdvised) {
  const TinyPair pair(TinyPair::Kind::kBart, {{"eos_token_id", -1}});  // answers of 20 tokens
  const std::string bart = test::with_words(pair.folder(), 30);
  for (const char* part : {"--context of at most 20", "found 21", "--window"})
    expect_line({bart, "w3 w4", "--context", "21"}, part);
  // The prompt has room of its own.
  EXPECT_EQ(call({bart, "w3 w4", "--context", "21"}).complaint.find("--truncate"),
            std::string::npos);
  EXPECT_EQ(json_of({bart, "w3 w4", "--context", "20", "-n", "1"})["tokens"].size(), 1U);
  const test::TinyDecoder tiny;
  const std::string llama = test::with_words(tiny.folder(), 40);
  const auto advice = [](const std::vector<std::string>& words) {
    testing::internal::CaptureStderr();
    testing::internal::CaptureStdout();
    EXPECT_EQ(call(words).status, 0);
    (void)testing::internal::GetCapturedStdout();
    return testing::internal::GetCapturedStderr();
  };
  const std::string full = advice({bart, "w3 w4", "-n", "90"});
  EXPECT_NE(full.find("the context is full; --window"), std::string::npos) << full;
  EXPECT_EQ(full.find("--context"), std::string::npos) << full;
  EXPECT_EQ(full.find("shorter prompt"), std::string::npos) << full;
  const std::string more = advice({bart, "w3 w4", "-n", "90", "--context", "9"});
  EXPECT_NE(more.find("--context N"), std::string::npos) << more;
  EXPECT_EQ(more.find("shorter prompt"), std::string::npos) << more;
  const std::string turned = advice({llama, "w3 w4", "-n", "90"});
  EXPECT_NE(turned.find("--context N or a shorter prompt"), std::string::npos) << turned;
}

TEST(RunCache, KeepsKeysAndValuesAsAsked) {
  const test::TinyDecoder tiny;
  const std::string folder = test::with_words(tiny.folder(), 40);
  expect_line({folder, "w1", "--cache", "f16"}, "expected --cache f32 | bf16, found f16");
  expect_line({"planted", "king", "--cache", "bf16"}, "goes on from a text for --cache");
  expect_line({folder, "w1", "--embed", "--cache", "bf16"}, "found --embed --cache");
  const Model model = Model::load(folder);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const std::string word(name(dtype));
    GenerateOptions options;
    options.cache = dtype;
    options.most = 30;
    Generator generator(model, options);
    generator.read(Ids{1, 2, 3});
    while (generator.step()) continue;
    const auto found = json_of({folder, "w1 w2 w3", "-n", "30", "--cache", word});
    EXPECT_EQ(tokens_in(found), generator.answer());
  }
  const std::string text = text_of(some_ids(30));
  const double whole = json_of({folder, text, "--perplexity"})["nll"].get<double>();
  EXPECT_EQ(json_of({folder, text, "--perplexity", "--cache", "f32"})["nll"].get<double>(), whole);
  const double half = json_of({folder, text, "--perplexity", "--cache", "bf16"})["nll"];
  EXPECT_NE(half, whole);
  EXPECT_NEAR(half, whole, 0.02 * whole);
}

TEST(RunHears, WritesDownWhatTheLibraryHears) {
  const test::TinyWhisper whisper;
  const std::string folder = whisper.made.folder().path().string();
  const Audio audio = test::hum(1.4);
  std::string data;
  for (const float x : audio.samples) data += media::sample(static_cast<double>(x), 3, 32);
  const std::string sound = (whisper.made.folder() / "sound.wav").string();
  write_file(sound, media::wav(3, 1, 16000, 32, data));
  const auto found = json_of({folder, sound, "-n", "5", "--language", "l3"});
  const Transcript expected = transcribe(whisper.model, audio, {.language = "l3", .most = 5});
  EXPECT_EQ(found["text"], expected.text);
  EXPECT_EQ(found["language"], "l3");
  ASSERT_EQ(found["parts"].size(), expected.parts.size());
  for (std::size_t n = 0; n < expected.parts.size(); ++n)
    EXPECT_EQ(found["parts"][n]["ids"].get<Ids>(), expected.parts[n].ids);

  const std::string silent = (whisper.made.folder() / "silent.wav").string();
  write_file(silent, media::wav(3, 1, 16000, 32, ""));
  expect_line({folder, silent}, "expected sound, found none");
  expect_line({folder, "hello"}, "hello");
  expect_line({folder, (whisper.made.folder() / "config.json").string()}, "expected sound");
  expect_line({folder, sound, sound}, "one WAV file");
  expect_line({folder, "--chat"}, "one WAV file");
  expect_line({folder, sound, "--embed"}, "--embed");
  expect_line({folder, sound, "--look"}, "--look");
  expect_line({folder, sound, "--language", "xx"}, "found xx");
  expect_line({"planted", sound}, "a model that hears for " + sound);
  expect_line({"planted", "king", "--language", "en"}, "hears for --language");
  expect_line({"planted", "king", "--translate"}, "hears for --translate");
}

TEST(RunTokenizer, OneOfAnotherModelIsRefused) {
  const test::TinyDecoder tiny;  // 40 tokens
  (void)test::with_words(tiny.folder(), 41);
  const std::string folder = tiny.folder().path().string();
  expect_line({folder, "w1"}, "expected a tokenizer of 40 tokens, found 41: of another model?");
  const TinyPair large(TinyPair::Kind::kT5, json::Value::object(), {.vocabulary = 3000});
  expect_line({test::with_words(large.folder(), 900), "w1"}, "found 900: of another model?");
  (void)test::with_words(tiny.folder(), 40);
  write_file(tiny.folder() / "tokenizer_config.json", R"({"eos_token": "</s>"})");
  expect_line({folder, "w1"}, "knows \"</s>\"");
  write_file(tiny.folder() / "tokenizer_config.json", R"({"eos_token": {"content": "w7"}})");
  EXPECT_EQ(tiny.load().generation().stop_ids, Ids{7});
}

TEST(RunTokenizer, RowsWithoutATokenNeverCome) {
  const test::TinyDecoder tiny;
  const std::string folder = test::with_words(tiny.folder(), 25);
  std::vector<std::string> words{folder, "w1 w2", "-n", "60", "--temperature", "9", "--seed", "4"};
  const auto found = json_of(words);
  EXPECT_EQ(found["tokens"].size(), 60U);
  for (const std::int32_t id : tokens_in(found)) EXPECT_LT(id, 25);
}

TEST(RunWishes, OptionsThatHaveNoUseForOneAnotherAreRefused) {
  const test::TinyDecoder tiny;
  const std::string folder = test::with_words(tiny.folder(), 40);
  const std::vector<std::vector<std::string>> answers = {
      {"--chat"}, {"--stop", "x"}, {"-n", "5"}, {"--temperature", "1"}, {"--look"}, {"--window"}};
  for (const char* other : {"--perplexity", "--embed"}) {
    for (std::vector<std::string> words : answers) {
      const std::string found = std::string("found ") + other + " " + words[0];
      words.insert(words.begin(), {folder, "w1 w2", other});
      expect_line(words, found);
      EXPECT_EQ(call(words).status, 2);
    }
  }
  expect_line({folder, "w1", "--system", "w2"}, "expected --system --chat, found --system");
  expect_line({folder, "--chat", "--json"}, "found --json --chat");
  expect_line({"planted", "king", "-n", "5"}, "goes on from a text for -n");
  expect_line({folder, "w1 w2 w3", "--perplexity", "--context", "1"}, "at least two tokens");
}

TEST(RunWishes, AHeadIsEditedOnce) {
  const test::TinyDecoder tiny;
  const std::string folder = test::with_words(tiny.folder(), 40);
  const std::string file = (tiny.folder() / "edits.json").string();
  write_file(file, R"([{"layer": 1, "head": 2, "kind": "zero"}])");
  EXPECT_EQ(call({folder, "w1", "--json", "-n", "1", "--edits", file, "--zero", "1.1"}).status, 0);
  expect_line({folder, "w1", "--edits", file, "--zero", "1.2"}, "found two of head 1.2");
  write_file(
      file,
      R"([{"layer": 1, "head": 2, "kind": "zero"}, {"layer": 1, "head": 2, "kind": "mean"}])");
  expect_line({folder, "w1", "--edits", file}, "found two of head 1.2");
}

TEST(RunFiles, WhatIsNoFileIsBadInput) {
  const test::TinyDecoder tiny;
  const std::string folder = test::with_words(tiny.folder(), 40);
  const std::string pipe = (tiny.folder() / "ff.gguf").string();
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{folder, "w1", "--edits", folder}, "expected a file, found a folder"},
      {{folder, "w1", "--edits", "/dev/null"}, "expected a file, found a pipe or a device"},
      {{pipe, "w1"}, "found the pipe " + pipe},
      {{"/dev/null", "w1"}, "found the device /dev/null"}};
  for (const auto& [words, part] : cases) {
    expect_line(words, part);
    EXPECT_EQ(call(words).status, 3) << part;
  }
}

TEST(RunWishes, WhatAModelHasNoUseForIsRefused) {
  const TinyPair pair(TinyPair::Kind::kBart);
  const std::string folder = test::with_words(pair.folder(), 30);
  expect_line({folder, "w3 w4", "--perplexity"}, "goes on from a text for --perplexity");
  for (const char* option : {"--chat", "--perplexity", "--look", "--window"})
    expect_line({"planted", "king", option}, std::string("goes on from a text for ") + option);
  expect_line({"planted", "king", "--stop", "x"}, "goes on from a text for --stop");
  expect_line({folder, "w3", "--chat"}, "chat template");
  expect_line({folder, "w3", "--zero", "0.2"}, "found head 0.2");  // the encoder has two heads
}

}  // namespace
}  // namespace headscope::cli
