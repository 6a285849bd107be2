// The binary under kill -9 and Ctrl-C: no checkpoint is ever lost, and the end is that of an undisturbed run.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "cli/app.h"
#include "formats/scratch.h"
#include "headscope/safetensors.h"
#include "train/runs.h"
#include "train/texts.h"

namespace headscope::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRecipe = R"(name = "tiny"
objective = "masked-endings"
[model]
model_type = "modernbert"
architectures = ["ModernBertForMaskedLM"]
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
intermediate_size = 16
max_position_embeddings = 64
global_attn_every_n_layers = 1
[tokenizer]
size = 300
[data]
train = ["text.txt"]
window = 16
[training]
batch_tokens = 64
steps = 200
learning_rate = 3e-3
dropout = 0.1
[checkpoint]
steps = 4
)";

class TrainBinary : public ::testing::Test {
 protected:
  TrainBinary() {
    write_file(scratch_ / "text.txt", std::string_view(train::testing::sentences(300, 1)));
    write_file(scratch_ / "r.toml", std::string_view(kRecipe));
  }

  /// `headscope train r.toml -o FOLDER --resume`, on its way.
  pid_t start(const std::string& folder) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    const std::string recipe = (scratch_ / "r.toml").string();
    const std::string output = (scratch_ / folder).string();
    ::setenv("XDG_CACHE_HOME", (scratch_ / "cache").c_str(), 1);
    const int null = ::open("/dev/null", O_WRONLY);
    ::dup2(null, STDOUT_FILENO);
    ::dup2(null, STDERR_FILENO);
    ::execl(HEADSCOPE_BINARY_DIR "/headscope",
            "headscope",
            "train",
            recipe.c_str(),
            "-o",
            output.c_str(),
            "--resume",
            "--threads",
            "1",
            static_cast<char*>(nullptr));
    ::_exit(127);
  }
  /// A folder with the record of a run that is over.
  std::string record(const std::string& folder,
                     const std::string& objective,
                     const std::string& name = "") const {
    fs::create_directories(scratch_ / folder);
    train::RunStore store(scratch_ / folder / "runs.sqlite");
    train::RunRecord run;
    run.name = name.empty() ? folder : name;
    run.version = "1";
    run.recipe = "objective = \"" + objective + "\"\n";
    train::RunState state;
    state.train = {{10, 100, 2.0, 0.5, 1e-3, 1.0}, {20, 200, 1.0, 0.5, 1e-3, 1.0}};
    state.step = 20;
    store.write(store.begin(run), "done", state);
    return (scratch_ / folder).string();
  }
  static int end_of(pid_t child) {
    int status = 0;
    ::waitpid(child, &status, 0);
    return status;
  }
  /// Steps of the newest checkpoint, -1 when there is none.
  long step_of(const std::string& folder) const {
    long step = -1;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(scratch_ / folder, ignored)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("checkpoint-")) step = std::max(step, std::stol(name.substr(11)));
    }
    return step;
  }

  Scratch scratch_;
};

void expect_equal_tensors(const fs::path& a, const fs::path& b) {
  const Safetensors one = Safetensors::open(a);
  const Safetensors two = Safetensors::open(b);
  ASSERT_EQ(one.tensors().size(), two.tensors().size());
  for (const auto& [name, view] : one.tensors()) {
    EXPECT_TRUE(std::equal(view.data, view.data + view.bytes(), two.at(name).data)) << name;
  }
}

TEST_F(TrainBinary, FiftyKillsLoseNoFileAndChangeNoBit) {
  ASSERT_EQ(end_of(start("whole")), 0);
  ASSERT_EQ(step_of("whole"), 200);
  // Fifty times at any moment of a run; where one ends before it is killed, another begins.
  constexpr int kKills = 50;
  int killed = 0;
  int folder = 0;
  long before = -1;
  for (int tries = 0; killed < kKills && tries < 4 * kKills; ++tries) {
    const std::string name = "killed-" + std::to_string(folder);
    const pid_t child = start(name);
    std::this_thread::sleep_for(std::chrono::milliseconds(15 + tries * 37 % 90));
    ::kill(child, SIGKILL);
    const int status = end_of(child);
    killed += WIFSIGNALED(status) ? 1 : 0;
    ASSERT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0)
        << "it could not go on: " << status;
    const long now = step_of(name);
    ASSERT_GE(now, before) << "a checkpoint was lost";
    before = now;
    if (now == 200) {
      ++folder;
      before = -1;
    }
  }
  EXPECT_EQ(killed, kKills);
  for (int i = 0; i <= folder; ++i) {
    const std::string name = "killed-" + std::to_string(i);
    ASSERT_EQ(end_of(start(name)), 0);
    for (const char* file : {"model.safetensors",
                             "checkpoint-00000200/model.safetensors",
                             "checkpoint-00000200/state.safetensors"}) {
      expect_equal_tensors(scratch_ / "whole" / file, scratch_ / name / file);
    }
  }
}

TEST_F(TrainBinary, CtrlCSavesACheckpointAndEndsWith130) {
  std::string recipe = kRecipe;
  recipe.replace(recipe.find("steps = 200"), 11, "steps = 2000000");
  recipe.replace(recipe.find("steps = 4\n"), 10, "steps = 1000000\n");
  write_file(scratch_ / "r.toml", std::string_view(recipe));
  const pid_t child = start("out");
  // Until it has begun: the tokenizer is there before the first step is.
  for (int i = 0; i < 500 && !fs::exists(scratch_ / "out" / "runs.sqlite"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  ::kill(child, SIGINT);
  const int status = end_of(child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 130);
  EXPECT_GE(step_of("out"), 0);  // a checkpoint; on a busy machine of no step yet
}

TEST_F(TrainBinary, PlotsAndErrorsAreOneLineEach) {
  ASSERT_EQ(end_of(start("whole")), 0);
  std::string out, complaint;
  const std::string folder = (scratch_ / "whole").string();
  const std::string svg = (scratch_ / "loss.svg").string();
  EXPECT_EQ(run(std::vector<std::string>{"train", "--plot", folder, "-o", svg}, out, complaint), 0)
      << complaint;
  EXPECT_NE(out.find("tiny train"), std::string::npos) << out;
  EXPECT_NE(read_file(svg).find("<polyline"), std::string::npos);
  out.clear();
  EXPECT_EQ(run(std::vector<std::string>{"train", "--plot", folder, "--json"}, out, complaint), 0);
  EXPECT_NE(out.find("\"points\":[{\"step\":10"), std::string::npos) << out.substr(0, 200);
  EXPECT_EQ(run(std::vector<std::string>{"train"}, out, complaint), 2);
  EXPECT_EQ(run(std::vector<std::string>{"train", "none.toml", "-o", folder}, out, complaint), 3);
  EXPECT_EQ(run(std::vector<std::string>{"train", "--plot", (scratch_ / "none").string()},
                out,
                complaint),
            3);
  const std::string recipe = (scratch_ / "r.toml").string();
  EXPECT_EQ(run(std::vector<std::string>{"train", recipe, "-o", folder}, out, complaint), 2);
  EXPECT_NE(complaint.find("--resume"), std::string::npos) << complaint;
  out.clear();
  ::setenv("XDG_CACHE_HOME", (scratch_ / "cache").c_str(), 1);
  const std::vector<std::string> again = {"train", recipe, "-o", folder, "--resume"};
  EXPECT_EQ(run(again, out, complaint), 0) << complaint;
  EXPECT_NE(out.find("200 steps"), std::string::npos) << out;
  EXPECT_EQ(out.find("tokens/s"), std::string::npos) << out;
}

TEST_F(TrainBinary, WhatACallLacksIsSaid) {
  const auto refused = [](const std::vector<std::string>& words) {
    std::string out, complaint;
    EXPECT_NE(run(words, out, complaint), 0);
    return complaint;
  };
  EXPECT_NE(refused({"train", "r.toml"}).find("found no -o FOLDER"), std::string::npos);
  EXPECT_NE(refused({"train", "-o", "x"}).find("found no RECIPE"), std::string::npos);
  EXPECT_NE(refused({"train"}).find("found neither"), std::string::npos);
  EXPECT_NE(refused({"train", "a", "b", "-o", "x"}).find("a, b"), std::string::npos);
  EXPECT_NE(refused({"train", "--plot"}).find("found none"), std::string::npos);
  EXPECT_NE(refused({"train", "--plot", "nothing"}).find("found no nothing"), std::string::npos);
  fs::create_directories(scratch_ / "bare");
  EXPECT_NE(refused({"train", "--plot", (scratch_ / "bare").string()}).find("found no runs.sqlite"),
            std::string::npos);
  const std::string png = (scratch_ / "x.png").string();
  EXPECT_NE(refused({"train", "--plot", "nothing", "-o", png}).find("-o FILE.svg"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(png));
}

TEST_F(TrainBinary, RunsOfOneRecipeAreToldApartByTheirFolders) {
  const auto plots = [](std::vector<std::string> words) {
    words.insert(words.begin(), {"train", "--plot"});
    std::string out, complaint;
    EXPECT_EQ(run(words, out, complaint), 0) << complaint;
    return out;
  };
  const std::string one = record("one", "masked", "chorale");
  const std::string two = record("two", "masked", "chorale");
  const std::string other = record("far/one", "masked", "chorale");
  const std::string alone = record("alone", "masked");
  const std::string svg = (scratch_ / "loss.svg").string();
  const std::string both = plots({one, two + "/", alone, "-o", svg});
  for (const char* name : {"  ⣀ one train  1.0", "  x two train  1.0", "  a alone train  1.0"})
    EXPECT_NE(both.find(name), std::string::npos) << both;
  EXPECT_EQ(both.find("chorale"), std::string::npos) << both;
  EXPECT_NE(both.find(" tokens read "), std::string::npos) << both;
  const std::string drawn = read_file(svg);
  EXPECT_NE(drawn.find(">one train 1.000"), std::string::npos);
  EXPECT_NE(drawn.find(">two train 1.000"), std::string::npos);
  EXPECT_NE(plots({one}).find("chorale train"), std::string::npos);
  // Folders of one name: as they were given; a record stands for its folder.
  EXPECT_NE(plots({one, other}).find(other + " train"), std::string::npos);
  EXPECT_NE(plots({one + "/runs.sqlite", two}).find("⣀ one train"), std::string::npos);
  const std::string russian = plots({one, two, "--lang", "ru"});
  EXPECT_NE(russian.find("x two обучение"), std::string::npos) << russian;
  EXPECT_NE(russian.find(" прочитано токенов "), std::string::npos) << russian;
  // What programs read stays English.
  EXPECT_NE(plots({one, two, "--lang", "ru", "--json"}).find("\"two train\""), std::string::npos);
}

TEST_F(TrainBinary, RunsWithLossesOfTwoUnitsShareNoAxis) {
  const std::string words = record("words", "masked");
  const std::string more = record("more", "causal");
  const std::string motion = record("motion", "moving");
  const std::string series = record("series", "tables");
  std::string out, complaint;
  const auto plots = [&](const std::vector<std::string>& folders) {
    out.clear();
    complaint.clear();
    std::vector<std::string> call{"train", "--plot"};
    call.insert(call.end(), folders.begin(), folders.end());
    return run(call, out, complaint);
  };
  EXPECT_EQ(plots({words, more}), 0) << complaint;
  EXPECT_TRUE(out.starts_with("loss, nats a label\n")) << out;
  EXPECT_NE(out.find("  x more train"), std::string::npos) << out;
  EXPECT_EQ(plots({motion}), 0) << complaint;
  EXPECT_TRUE(out.starts_with("loss, mean square\n")) << out;
  EXPECT_EQ(plots({series}), 0) << complaint;
  EXPECT_TRUE(out.starts_with("loss, nats a number\n")) << out;
  EXPECT_EQ(plots({words, motion}), 2);
  EXPECT_NE(complaint.find("motion train (loss, mean square)"), std::string::npos) << complaint;
  EXPECT_EQ(plots({words, series}), 2);
  EXPECT_EQ(plots({words, motion, "--json"}), 0) << complaint;
  EXPECT_NE(out.find("\"unit\":\"loss, mean square\""), std::string::npos) << out;
}

}  // namespace
}  // namespace headscope::cli
