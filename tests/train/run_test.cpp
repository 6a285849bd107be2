// Whole runs of tiny recipes: stopped and resumed, at other numbers of threads, refused.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "formats/scratch.h"
#include "headscope/error.h"
#include "headscope/model.h"
#include "headscope/safetensors.h"
#include "headscope/threads.h"
#include "train/begun.h"
#include "train/hold.h"
#include "train/loop.h"
#include "train/runs.h"
#include "train/texts.h"

namespace headscope::train {
namespace {

namespace fs = std::filesystem;

constexpr const char* kEndings = R"(name = "tiny"
objective = "masked-endings"
[model]
model_type = "modernbert"
architectures = ["ModernBertForMaskedLM"]
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 4
intermediate_size = 32
max_position_embeddings = 64
global_attn_every_n_layers = 1
[tokenizer]
size = 400
[data]
train = ["text.txt"]
valid = ["valid.txt"]
window = 24
[training]
batch_tokens = 192
accumulate = 2
steps = 24
learning_rate = 3e-3
warmup_steps = 4
dropout = 0.1
[checkpoint]
steps = 7
valid_steps = 10
valid_tokens = 500
)";

constexpr const char* kCausal = R"(name = "next"
objective = "causal"
[model]
model_type = "llama"
architectures = ["LlamaForCausalLM"]
hidden_size = 32
num_hidden_layers = 1
num_attention_heads = 4
num_key_value_heads = 2
intermediate_size = 48
max_position_embeddings = 64
rms_norm_eps = 1e-5
tie_word_embeddings = true
[tokenizer]
kind = "unigram"
size = 200
[data]
train = ["text.txt"]
window = 32
[training]
batch_tokens = 512
steps = 60
learning_rate = 1e-2
)";

class Runs : public ::testing::Test {
 protected:
  Runs() {
    write_file(scratch_ / "text.txt", std::string_view(testing::sentences(1500, 1)));
    write_file(scratch_ / "valid.txt", std::string_view(testing::sentences(200, 2)));
  }
  Recipe recipe(const std::string& text) { return parse_recipe(text, scratch_ / "r.toml"); }
  RunOptions options(const std::string& folder) {
    RunOptions out;
    out.folder = scratch_ / folder;
    out.cache = scratch_ / "cache";
    return out;
  }

  Scratch scratch_;
};

void expect_equal_tensors(const fs::path& a, const fs::path& b) {
  const Safetensors one = Safetensors::open(a);
  const Safetensors two = Safetensors::open(b);
  ASSERT_EQ(one.tensors().size(), two.tensors().size());
  for (const auto& [name, view] : one.tensors()) {
    const AnyView& other = two.at(name);
    ASSERT_EQ(view.bytes(), other.bytes()) << name;
    EXPECT_TRUE(std::equal(view.data, view.data + view.bytes(), other.data)) << name;
  }
}

void expect_equal_runs(const fs::path& a, const fs::path& b, const std::string& step) {
  expect_equal_tensors(a / "model.safetensors", b / "model.safetensors");
  for (const char* file : {"model.safetensors", "state.safetensors"}) {
    expect_equal_tensors(a / ("checkpoint-" + step) / file, b / ("checkpoint-" + step) / file);
  }
}

constexpr const char* kTeaching =
    "[teaching]\ntrees = [\"trees.conllu\"]\nsentences = 4\n"
    "heads = { \"0.1\" = \"amod\", \"1.2\" = [\"case\", \"amod back\"] }\n";

// Adjectives with their nouns and a preposition between them.
std::string some_trees() {
  std::string trees;
  const char* adjectives[] = {"Старый", "Молодого", "Умному", "Добрым"};
  const char* nouns[] = {"король", "принца", "мастеру", "соколом"};
  for (int i = 0; i < 4; ++i) {
    trees += fmt::format("1\t{}\t_\tADJ\t_\t_\t3\tamod\t_\t_\n", adjectives[i]);
    trees += "2\tв\t_\tADP\t_\t_\t3\tcase\t_\t_\n";
    trees += fmt::format("3\t{}\t_\tNOUN\t_\t_\t0\troot\t_\t_\n\n", nouns[i]);
  }
  return trees;
}

std::string taught(std::string recipe) {
  return recipe.insert(recipe.find("[training]"), kTeaching);
}

/// Stopped twice and resumed at other numbers of threads it is, bit for bit, the run that nobody disturbed.
void expect_same_in_parts(const Recipe& r, const RunOptions& undisturbed, RunOptions parts) {
  const int before = threads();
  set_threads(1);
  const RunResult whole = run_recipe(r, undisturbed);
  EXPECT_EQ(whole.state.step, 24);
  EXPECT_FALSE(whole.stopped);
  for (int part = 0; part < 3; ++part) {
    set_threads(1 + part);
    parts.resume = part > 0;
    int asked = 0;
    parts.stop = [&] { return part < 2 && asked++ == 9; };
    const RunResult result = run_recipe(r, parts);
    EXPECT_EQ(result.stopped, part < 2);
  }
  set_threads(before);
  expect_equal_runs(undisturbed.folder, parts.folder, "00000024");
  const RunStore store(parts.folder / "runs.sqlite", true);
  ASSERT_EQ(store.runs().size(), 1U);
  EXPECT_EQ(store.runs()[0].status, "done");
  const auto valid = store.points(1, "valid");
  ASSERT_EQ(valid.size(), 3U);  // 10, 20 and the end
  EXPECT_EQ(valid.back().step, 24);
  EXPECT_EQ(store.points(1, "train").size(), 3U);
}

TEST_F(Runs, FolderThatAnotherRunWritesToIsRefused) {
  const Recipe next = recipe(kCausal);
  const RunOptions how = options("held");
  const FolderHold hold(how.folder, "train");
  try {
    (void)run_recipe(next, how);
    FAIL() << "expected a refusal";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kResources) << error.what();
  }
}

TEST_F(Runs, StoppedAndResumedAtAnyThreadsIsBitForBitTheUndisturbedRun) {
  write_file(scratch_ / "trees.conllu", std::string_view(some_trees()));
  const Recipe r = recipe(taught(kEndings));
  expect_same_in_parts(r, options("adamw"), options("adamw-parts"));
  std::string text = taught(kEndings);
  text.insert(text.find("[training]\n") + 11, "optimizer = \"muon\"\n");
  const Recipe turned = recipe(text);
  EXPECT_TRUE(turned.training.muon);
  expect_same_in_parts(turned, options("muon"), options("muon-parts"));
  RunOptions other = options("muon-parts");
  other.resume = true;
  try {
    (void)run_recipe(r, other);
    ADD_FAILURE() << "resumed with another optimizer";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("expected the recipe that the run began with"),
              std::string::npos)
        << error.what();
  }
}

TEST_F(Runs, GoingOnWithARunThatIsDoneKeepsItsCheckpoint) {
  // As after a kill between the last checkpoint and the model, or by mistake.
  const Recipe r = recipe(kEndings);
  (void)run_recipe(r, options("once"));
  RunOptions again = options("again");
  (void)run_recipe(r, again);
  fs::remove(again.folder / "model.safetensors");
  again.resume = true;
  for (int i = 0; i < 2; ++i) EXPECT_EQ(run_recipe(r, again).state.step, 24);
  expect_equal_runs(options("once").folder, again.folder, "00000024");
}

TEST_F(Runs, WhatItLeavesIsAModelThatLoadsAndHasLearnt) {
  Recipe r = recipe(kEndings);
  r.schedule.steps = 250;
  const RunResult result = run_recipe(r, options("model"));
  ASSERT_GE(result.state.valid.size(), 2U);
  EXPECT_LT(result.state.valid.back().loss, 0.7 * result.state.valid.front().loss);
  const Model model = Model::load((scratch_ / "model").string());
  EXPECT_EQ(model.family(), "modernbert");
  const Sighting sighting = model.see("Старый король знал молодого принца");
  EXPECT_EQ(sighting.layers.size(), 2U);
  EXPECT_GT(result.borders.kept, 0);
  EXPECT_TRUE(fs::exists(scratch_ / "model" / "tokenizer_config.json"));
}

TEST_F(Runs, TaughtHeadsLearnFromTreesAndTheModelSaysSo) {
  write_file(scratch_ / "trees.conllu", std::string_view(some_trees()));
  std::string text = taught(kEndings);
  double last = 0.0;
  RunOptions o = options("taught");
  o.report = [&](const RunReport& r) { last = r.taught; };
  (void)run_recipe(recipe(text), o);
  EXPECT_GT(last, 0.0);
  const std::string config = read_file(o.folder / "config.json");
  EXPECT_NE(config.find("\"1.2\": [\n      \"case\",\n      \"amod back\""), std::string::npos)
      << config;
  EXPECT_EQ(Model::load(o.folder).heads(), 4);

  // Another run begins with its weights and goes on learning, and still says what was taught before.
  const double before = last;
  RunOptions on = options("on");
  on.tokenizer = o.folder / "tokenizer.json";
  on.report = o.report;
  (void)run_recipe(recipe("from = \"taught\"\n" + text), on);
  EXPECT_LT(last, 0.8 * before);
  RunOptions alone = options("alone");
  alone.tokenizer = on.tokenizer;
  (void)run_recipe(recipe(std::string("from = \"taught\"\n") + kEndings), alone);
  EXPECT_EQ(read_file(alone.folder / "config.json"), config);
}

TEST_F(Runs, WhatCannotBeTaughtOrBegunWithIsRefused) {
  write_file(scratch_ / "trees.conllu", std::string_view(some_trees()));
  RunOptions base = options("base");
  (void)run_recipe(recipe(kEndings), base);
  int n = 0;
  const auto complaint = [&](std::string text, const char* from, const char* to) {
    if (*from != '\0') text.replace(text.find(from), std::string(from).size(), to);
    RunOptions o = options("refused-" + std::to_string(n++));
    o.tokenizer = base.folder / "tokenizer.json";
    try {
      (void)run_recipe(recipe(text), o);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  const std::string begun = std::string("from = \"base\"\n") + kEndings;
  EXPECT_EQ(complaint(begun, "", ""), "no error");
  EXPECT_NE(complaint(begun, "hidden_size = 32", "hidden_size = 16").find("expected model.embed"),
            std::string::npos);
  EXPECT_NE(complaint(begun, "num_attention_heads = 4", "num_attention_heads = 2")
                .find("expected num_attention_heads = 2"),
            std::string::npos);
  const std::string text = taught(kEndings);
  EXPECT_NE(complaint(text, "\"0.1\"", "\"2.1\"").find("layers 0..1 of 4 heads, found 2.1"),
            std::string::npos);
  EXPECT_NE(complaint(text, "\"0.1\"", "\"0.4\"").find("found 0.4"), std::string::npos);
  EXPECT_NE(
      complaint(text, "= \"amod\"", "= \"amodd\"").find("hold \"amodd\" for head 0.1, found none"),
      std::string::npos);
}

TEST_F(Runs, AnotherTokenizerKeepsTheWeightsOfTokensThatBothKnow) {
  (void)run_recipe(recipe(kEndings), options("base"));
  std::string text = kEndings;
  text.replace(text.find("\"text.txt\""), 10, "\"other.txt\"");
  std::string other_text = read_file(scratch_ / "text.txt");
  for (int i = 0; i < 50; ++i) other_text += "Zebras quilted quietly while zephyrs whistled.\n";
  write_file(scratch_ / "other.txt", std::string_view(other_text));
  (void)run_recipe(recipe(text), options("more"));
  const auto begun = [&](const fs::path& from, const fs::path& to) {
    const Tokenizer had = Tokenizer::load(from), has = Tokenizer::load(to);
    const Trainee other = Trainee::load(from);
    const std::string tokenizer = read_file(to / "tokenizer.json");
    const Trainee out = begun_with(from, read_file(to / "config.json"), tokenizer, 5);
    const Trainee fresh = Trainee::fresh(read_file(to / "config.json"), 5);
    EXPECT_NE(other.vocabulary(), out.vocabulary());
    std::int64_t shared = 0, apart = 0;
    for (std::size_t i = 0; i < out.parameters().size(); ++i) {
      const Tensor& a = other.parameters()[i].value;
      const Tensor& b = out.parameters()[i].value;
      const auto read = a.span<float>(), write = b.span<float>();
      if (a.shape() == b.shape()) {
        EXPECT_TRUE(std::ranges::equal(read, write)) << out.parameters()[i].name;
        continue;
      }
      const auto width = static_cast<std::size_t>(b.size() / b.dim(0));
      for (std::int32_t id = 0; id < has.vocabulary_size(); ++id) {
        const std::int32_t known = had.id_of(has.token_of(id));
        const auto row = write.subspan(static_cast<std::size_t>(id) * width, width);
        const auto chance = fresh.parameters()[i].value.span<float>().subspan(
            static_cast<std::size_t>(id) * width, width);
        const auto before =
            known < 0 ? chance : read.subspan(static_cast<std::size_t>(known) * width, width);
        EXPECT_TRUE(std::ranges::equal(row, before)) << has.token_of(id);
        (known < 0 ? apart : shared) += 1;
      }
    }
    EXPECT_GT(shared, 0);
    return apart;
  };
  EXPECT_GT(begun(scratch_ / "base", scratch_ / "more"), 0);
  (void)begun(scratch_ / "more", scratch_ / "base");
  const auto first_loss = [&](const std::string& from, const char* name) {
    RunOptions on = options(name);
    on.tokenizer = scratch_ / "base" / "tokenizer.json";
    return run_recipe(recipe(from + kEndings), on).state.train.front().loss;
  };
  EXPECT_LT(first_loss("from = \"more\"\n", "on"), first_loss("", "alone"));
}

TEST_F(Runs, WhatIsWrongWithAFileIsSaidWithItsNameBeforeAnythingIsMade) {
  const auto complaint = [&](std::string text) {
    bool learned = false;
    RunOptions o = options("wrong");
    o.report = [&](const RunReport& r) {
      learned = learned || r.phase == RunReport::Phase::kTexts || r.step > 0;
    };
    try {
      (void)run_recipe(recipe(text), o);
    } catch (const Error& error) {
      EXPECT_FALSE(learned);
      EXPECT_FALSE(fs::exists(o.folder / "tokenizer.json"));
      return std::string(error.what());
    }
    return std::string("no error");
  };
  const auto named = [&](const std::string& file) {
    std::string text = kEndings;
    text.replace(text.find("\"text.txt\""), 10, "\"text.txt\", \"" + file + "\"");
    return text;
  };
  write_file(scratch_ / "bytes.txt", std::string_view("one\ntwo \xFF three\n"));
  write_file(scratch_ / "empty.txt", std::string_view(""));
  write_file(scratch_ / "marks.txt", std::string_view("123 456\n"));
  fs::create_directories(scratch_ / "folder");
  const std::string bytes = "bytes.txt:2] expected UTF-8, found 0xFF at byte 8 of the text";
  EXPECT_NE(complaint(named("bytes.txt")).find(bytes), std::string::npos);
  std::string unigram = named("bytes.txt");
  unigram.replace(unigram.find("size = 400"), 10, "kind = \"unigram\"\nsize = 400");
  EXPECT_NE(complaint(unigram).find(bytes), std::string::npos);
  EXPECT_NE(complaint(named("empty.txt")).find("empty.txt] expected a text to learn from"),
            std::string::npos);
  std::string marks = kEndings;
  marks.replace(marks.find("text.txt"), 8, "marks.txt");
  EXPECT_NE(complaint(marks).find("marks.txt)"), std::string::npos) << complaint(marks);
  EXPECT_NE(complaint(named("none.txt")).find("none.txt] expected a file, which train in [data]"),
            std::string::npos);
  std::string valid = kEndings;
  valid.replace(valid.find("valid.txt"), 9, "folder");
  EXPECT_NE(complaint(valid).find("folder] expected a file, which valid in [data] names"),
            std::string::npos);
  EXPECT_NE(complaint("from = \"nowhere\"\n" + std::string(kEndings)).find("which from names"),
            std::string::npos);
  EXPECT_EQ(complaint(named("valid.txt")).find("expected"), std::string::npos);
}

TEST_F(Runs, ACausalModelLearnsFromTextToo) {
  const RunResult result = run_recipe(recipe(kCausal), options("causal"));
  ASSERT_GE(result.state.train.size(), 6U);
  EXPECT_LT(result.state.train.back().loss, 0.75 * result.state.train.front().loss);
  EXPECT_TRUE(Model::load((scratch_ / "causal").string()).generates());
}

TEST_F(Runs, AFolderWithARunIsNotOverwrittenAndAnotherRecipeDoesNotGoOn) {
  RunOptions how = options("out");
  int asked = 0;
  how.stop = [&] { return asked++ == 2; };
  const Recipe r = recipe(kEndings);
  (void)run_recipe(r, how);
  EXPECT_THROW((void)run_recipe(r, how), Error);
  how.resume = true;
  Recipe other = r;
  other.training.seed = 2;
  EXPECT_THROW((void)run_recipe(other, how), Error);
  Recipe longer = r;
  longer.schedule.steps = 30;
  how.stop = nullptr;
  EXPECT_EQ(run_recipe(longer, how).state.step, 30);
}

TEST_F(Runs, ACheckpointWithAModelOfAnotherIsRefusedAndHalvesAreRemoved) {
  RunOptions how = options("out");
  int asked = 0;
  how.stop = [&] { return asked++ == 2; };
  const Recipe r = recipe(kEndings);
  (void)run_recipe(r, how);
  const auto newest = newest_checkpoint(how.folder);
  ASSERT_TRUE(newest.has_value());
  fs::create_directories(how.folder / ".part-checkpoint-00000099");
  EXPECT_EQ(newest_checkpoint(how.folder), newest);
  EXPECT_FALSE(fs::exists(how.folder / ".part-checkpoint-00000099"));
  RunOptions another = options("another");
  asked = 0;
  another.stop = [&] { return asked++ == 3; };
  (void)run_recipe(r, another);
  fs::copy_file(*newest_checkpoint(another.folder) / "model.safetensors",
                *newest / "model.safetensors",
                fs::copy_options::overwrite_existing);
  how.resume = true;
  EXPECT_THROW((void)run_recipe(r, how), Error);
}

}  // namespace
}  // namespace headscope::train
