#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>

#include "cli/screen.h"

// The binary itself, over the planted model.
namespace headscope::cli {
namespace {

namespace fs = std::filesystem;

struct Outcome {
  int status = -1;
  std::string out;
  std::string complaint;
};

std::string slurp(const fs::path& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

class Binary : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() /
              (std::string("headscope-cli-") +
               ::testing::UnitTest::GetInstance()->current_test_info()->name() + '-' +
               std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // Runs `headscope ARGUMENTS` as a shell would, in a folder of its own.
  Outcome run(const std::string& arguments, const std::string& before = "") const {
    const std::string command = "cd '" + folder_.string() + "' && " + before +
                                " env -u LC_ALL -u LANG -u HEADSCOPE_LANG '" HEADSCOPE_BINARY_DIR
                                "/headscope' " +
                                arguments + " >out.txt 2>err.txt";
    const int raw = std::system(command.c_str());
    return {WIFEXITED(raw) ? WEXITSTATUS(raw) : -1,
            slurp(folder_ / "out.txt"),
            slurp(folder_ / "err.txt")};
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  [[nodiscard]] bool exists(const std::string& name) const { return fs::exists(folder_ / name); }

  fs::path folder_;
};

void expect_lines_fit(const std::string& text, int width) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(columns(line), width) << line;
}

const std::string kKing = "\"Старый король дал молодому принцу острый меч\"";

TEST_F(Binary, SeeShowsThePlantedCouncil) {
  for (const std::string more :
       {"", " --lang ru", " --head 0.6", " --lang ru --head 0.6,0.7", " --zero 0.6"}) {
    const Outcome see = run("see planted " + kKing + more);
    EXPECT_EQ(see.status, 0) << see.complaint;
    EXPECT_EQ(see.complaint, "");
    EXPECT_NE(see.out.find("острый"), std::string::npos) << see.out;
    EXPECT_EQ(see.out.find('\x1b'), std::string::npos) << "no colour in a pipe";
    expect_lines_fit(see.out, 80);
  }
  const Outcome council = run("see planted " + kKing);
  EXPECT_NE(council.out.find("Старый→король"), std::string::npos) << council.out;
}

TEST_F(Binary, ColourComesOnlyWhenAskedForInAPipe) {
  EXPECT_NE(run("see planted king --color always").out.find("\x1b["), std::string::npos);
  EXPECT_EQ(run("see planted king --color never").out.find("\x1b["), std::string::npos);
}

TEST_F(Binary, JsonIsTheOnlyThingOnStandardOutput) {
  const Outcome see = run("see planted " + kKing + " --json --maps");
  ASSERT_EQ(see.status, 0) << see.complaint;
  const auto json = nlohmann::json::parse(see.out);
  ASSERT_EQ(json.at("roles").size(), 8U);
  const std::size_t tokens = json.at("tokens").size();
  for (const auto& head : json.at("layers")[0].at("heads")) {
    for (const auto& row : head.at("map")) {
      double sum = 0.0;
      for (const auto& weight : row) sum += weight.get<double>();
      EXPECT_EQ(row.size(), tokens);
      EXPECT_NEAR(sum, 1.0, 1e-3);
    }
  }
  const auto walk =
      nlohmann::json::parse(run("walk planted " + kKing + " --json --head 0.6 --row острый").out);
  EXPECT_LT(walk.at("reconstruction_error").get<double>(), 1e-5);
  EXPECT_TRUE(nlohmann::json::accept(run("models --json").out));
  EXPECT_TRUE(nlohmann::json::accept(run("cpu --json").out));
}

TEST_F(Binary, WalkGoesThroughTheFiveSteps) {
  const Outcome walk = run("walk planted " + kKing + " --layer 0 --head 6 --row Старый");
  EXPECT_EQ(walk.status, 0) << walk.complaint;
  EXPECT_NE(walk.out.find("5 output"), std::string::npos);
  expect_lines_fit(walk.out, 80);
}

TEST_F(Binary, PagesAndSightingsAreWritten) {
  const Outcome see = run("see planted " + kKing + " --html king.html -o king.sight");
  EXPECT_EQ(see.status, 0) << see.complaint;
  EXPECT_TRUE(slurp(folder_ / "king.html").starts_with("<!"));
  EXPECT_GT(fs::file_size(folder_ / "king.sight"), 1000U);
}

TEST_F(Binary, TextComesFromFilesAndStandardInput) {
  write("king.txt", "The old king\n");
  const auto from_file = nlohmann::json::parse(run("see planted king.txt --json").out);
  EXPECT_EQ(from_file.at("text"), "The old king");
  const auto from_input = nlohmann::json::parse(run("see planted - --json < king.txt").out);
  EXPECT_EQ(from_input.at("text"), "The old king");
}

TEST_F(Binary, NextCommandsWork) {
  write("king.bin", "The old king");
  const Outcome see = run("see planted king.bin --as bytes --width 200");
  ASSERT_EQ(see.status, 0) << see.complaint;
  std::istringstream lines(see.out.substr(see.out.find("next:")));
  int commands = 0;
  for (std::string line; std::getline(lines, line); ++commands) {
    const std::string command = line.substr(line.find("headscope ") + 10);
    const Outcome next = run(command + " --json");
    ASSERT_EQ(next.status, 0) << command << next.complaint;
    EXPECT_EQ(nlohmann::json::parse(next.out).at("tokens").size(), 12U) << command;
  }
  EXPECT_GT(commands, 0);
}

TEST_F(Binary, BadInputGetsOneLineAndTheRightStatusAndWritesNothing) {
  write("latin1.txt", "caf\xE9");
  write("empty.txt", "");
  std::string longest;
  for (int i = 0; i < 3000; ++i) longest += "the king ";
  write("long.txt", longest);
  write("not-a-folder", "x");
  const std::array<std::pair<std::string, int>, 25> cases = {{
      {"", 2},
      {"se planted x", 2},
      {"see", 2},
      {"see planted", 2},
      {"see planted king --bogus", 2},
      {"see planted king --head", 2},
      {"see planted king --head king", 2},
      {"see planted king --maps", 2},
      {"see planted king --width 9", 2},
      {"see planted king --zero 0.1 --scale 0.1=2", 2},
      {"see planted king -o page.pdf", 2},
      {"see planted king --lang de", 2},
      {"walk planted", 2},
      {"verify", 2},
      {"verify a b --dump ours.safetensors", 2},
      {"see planted king --head 0.8 --html page.html", 3},
      {"see planted king --layer 1 --html page.html", 3},
      {"see no-such-model king --html page.html", 3},
      {"see planted no-such-file.txt --html page.html", 3},
      {"see planted latin1.txt --html page.html", 3},
      {"see planted empty.txt --html page.html", 3},
      {"see planted long.txt --html page.html", 3},
      {"walk planted king --row 77 --html page.html", 3},
      {"verify no-such-folder --dump page.html", 3},
      {"see planted king --html no-such-folder/page.html", 4},
  }};
  for (const auto& [arguments, status] : cases) {
    for (const std::string lang : {"en", "ru"}) {
      const std::string spoken =
          arguments.empty()
              ? ""
              : arguments +
                    (arguments.find("--lang") == std::string::npos ? " --lang " + lang : "");
      const Outcome outcome = run(spoken);
      EXPECT_EQ(outcome.status, status) << arguments << '\n' << outcome.complaint;
      EXPECT_EQ(outcome.out, "") << arguments;
      EXPECT_TRUE(outcome.complaint.starts_with("headscope: [")) << arguments << '\n'
                                                                 << outcome.complaint;
      EXPECT_EQ(std::count(outcome.complaint.begin(), outcome.complaint.end(), '\n'), 1)
          << outcome.complaint;
      EXPECT_FALSE(exists("page.html")) << arguments;
    }
  }
  EXPECT_NE(run("see planted long.txt").complaint.find("--truncate"), std::string::npos);
  const Outcome cut = run("see planted long.txt --truncate");
  EXPECT_EQ(cut.status, 0) << cut.complaint;
  EXPECT_NE(cut.out.find("cut:"), std::string::npos) << cut.out;
}

TEST_F(Binary, WhatCannotBeOpenedIsSaidInTheLanguageOfTheScreen) {
  const std::string missing = "не открывается: такого файла нет\n";
  const std::string folder = "ожидался файл, найдено: папка\n";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"train none.toml -o out", "headscope: [none.toml] " + missing},
      {"sweep none.toml -o out --heads 1", "headscope: [none.toml] " + missing},
      {"doctor replay none.json", "headscope: [none.json] " + missing},
      {"verify .", "headscope: [./io.safetensors] " + missing},
      {"train . -o out", "headscope: [.] " + folder},
      {"doctor replay .", "headscope: [.] " + folder},
      {"doctor roles planted --data .", "headscope: [.] " + folder},
      {"doctor replay /dev/null",
       "headscope: [/dev/null] ожидался файл, найдено: канал или устройство\n"}};
  for (const auto& [arguments, complaint] : cases) {
    const Outcome outcome = run(arguments + " --lang ru");
    EXPECT_EQ(outcome.status, 3) << arguments;
    EXPECT_EQ(outcome.complaint, complaint) << arguments;
  }
  EXPECT_EQ(run("train none.toml -o out").complaint,
            "headscope: [none.toml] cannot open: no such file\n");
  EXPECT_TRUE(
      run("convert none -o x.gguf --lang ru").complaint.starts_with("headscope: [model] о"));
  EXPECT_EQ(
      run("train " + std::string(300, 'x') + ".toml -o out --lang ru").complaint,
      "headscope: [" + std::string(300, 'x') + ".toml] не открывается: имя слишком длинное\n");
  EXPECT_EQ(run("see planted king --html nowhere/king.html --lang ru").complaint,
            "headscope: [see] нельзя записать nowhere/king.html: такой папки нет\n");
  if (::geteuid() == 0) return;  // Root may read everything.
  write("locked.json", "{}");
  fs::permissions(folder_ / "locked.json", fs::perms::none);
  EXPECT_EQ(run("doctor replay locked.json --lang ru").complaint,
            "headscope: [locked.json] не открывается: нет права на чтение\n");
}

TEST_F(Binary, HelpAndVersion) {
  for (const std::string verb : {"see", "walk", "verify", "pull", "models", "cpu", "bench"}) {
    const Outcome help = run(verb + " --help");
    EXPECT_EQ(help.status, 0);
    EXPECT_NE(help.out.find("headscope " + verb), std::string::npos) << help.out;
    EXPECT_EQ(run("help " + verb).out, help.out);
    EXPECT_NE(run(verb + " --help --lang ru").out, help.out);
  }
  EXPECT_EQ(run("--version").out, "headscope " HEADSCOPE_VERSION "\n");
  EXPECT_EQ(run("help").status, 0);
}

TEST_F(Binary, ForcedInstructionSetIsTheChosenOne) {
  const auto json = nlohmann::json::parse(run("cpu --json", "HEADSCOPE_ISA=scalar").out);
  for (const auto& isa : json.at("instruction_sets")) {
    EXPECT_EQ(isa.at("chosen").get<bool>(), isa.at("name") == "scalar");
  }
  EXPECT_EQ(run("cpu", "HEADSCOPE_ISA=nonsense").status, 2);
}

TEST_F(Binary, FullDiskIsAnError) {
  const Outcome full = run("help > /dev/full; echo $? > status.txt; true");
  EXPECT_EQ(slurp(folder_ / "status.txt"), "4\n") << full.complaint;
}

TEST_F(Binary, InterruptEndsWith130) {
  // Standard input that never ends: the program waits there until the signal comes.
  std::array<int, 2> pipe_ends{};
  ASSERT_EQ(::pipe(pipe_ends.data()), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::dup2(pipe_ends[0], STDIN_FILENO);
    ::execl(HEADSCOPE_BINARY_DIR "/headscope",
            "headscope",
            "see",
            "planted",
            "-",
            static_cast<char*>(nullptr));
    ::_exit(127);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  ::kill(child, SIGINT);
  int raw = 0;
  ASSERT_EQ(::waitpid(child, &raw, 0), child);
  ::close(pipe_ends[0]);
  ::close(pipe_ends[1]);
  ASSERT_TRUE(WIFEXITED(raw));
  EXPECT_EQ(WEXITSTATUS(raw), 130);
}

}  // namespace
}  // namespace headscope::cli
