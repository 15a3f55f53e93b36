// A service for many clients at once, on 127.0.0.1:  cpp_service BUNDLE [PORT]
//
// It prints "port N" and serves until its standard input ends. A client sends lines "MAX_TOKENS ID ID ..." and gets,
// for each, lines "tokens ID ..." as they come, then "done stop|length" or "error CODE MESSAGE". All clients share one
// batch; one that goes away frees its place in it.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <skywork_rt/generator.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <iostream>
#include <list>
#include <sstream>
#include <string>
#include <thread>
#include <utility>

namespace {

using skywork_rt::Error;
using skywork_rt::Generator;

class Socket {
 public:
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() { close(descriptor_); }
  int descriptor() const { return descriptor_; }

  bool Send(const std::string& line) const {
    std::size_t sent = 0;
    while (sent < line.size()) {
      const ssize_t count = send(descriptor_, line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) return false;
      sent += static_cast<std::size_t>(count);
    }
    return true;
  }

  // False when the client is gone.
  bool ReadLine(std::string* line) {
    constexpr std::size_t kLongestLine = 1 << 20;
    std::size_t end = 0;
    while ((end = buffer_.find('\n')) == std::string::npos) {
      char bytes[4096];
      const ssize_t count = recv(descriptor_, bytes, sizeof bytes, 0);
      if (count <= 0 || buffer_.size() > kLongestLine) return false;
      buffer_.append(bytes, static_cast<std::size_t>(count));
    }
    *line = buffer_.substr(0, end);
    buffer_.erase(0, end + 1);
    return true;
  }

 private:
  int descriptor_;
  std::string buffer_;
};

// Answers one line. False when the client went away meanwhile.
bool Answer(Generator* generator, const Socket& client, const std::string& line) {
  skywork_rt::Request request;
  request.sampling.temperature = 0.0f;
  std::istringstream words(line);
  int max_tokens = 0;
  words >> max_tokens;
  request.sampling.max_tokens = max_tokens;
  for (skywork_rt::TokenId id = 0; words >> id;) request.prompt.push_back(id);
  try {
    skywork_rt::RequestHandle handle = generator->Submit(std::move(request));
    skywork_rt::Update update;
    while (handle.Next(&update)) {
      std::ostringstream out("tokens", std::ios::ate);
      for (const skywork_rt::TokenId id : update.token_ids) out << ' ' << id;
      if (client.Send(out.str() + "\n")) continue;
      handle.Cancel();
      return false;
    }
    const bool stop = handle.Get().samples[0].finish_reason == skywork_rt::FinishReason::kStop;
    return client.Send(stop ? "done stop\n" : "done length\n");
  } catch (const Error& error) {
    return client.Send(std::string("error ") + ErrorCodeName(error.code()) + " " + error.what() + "\n");
  }
}

struct Client {
  explicit Client(int descriptor) : socket(descriptor) {}
  ~Client() {
    if (thread.joinable()) thread.join();
  }

  void Serve(Generator* generator) {
    std::string line;
    while (socket.ReadLine(&line) && Answer(generator, socket, line)) {
    }
    shutdown(socket.descriptor(), SHUT_RDWR);
    gone = true;
  }

  Socket socket;
  std::atomic<bool> gone{false};
  std::thread thread;
};

void Listen(const Socket& listener, int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<in_port_t>(port));
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  if (bind(listener.descriptor(), generic, size) != 0 || listen(listener.descriptor(), 64) != 0 ||
      getsockname(listener.descriptor(), generic, &size) != 0) {
    throw Error(skywork_rt::ErrorCode::kCapacity, "cannot listen on port " + std::to_string(port));
  }
  std::cout << "port " << ntohs(address.sin_port) << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return std::cerr << "usage: cpp_service BUNDLE [PORT]\n", 2;
  try {
    Generator generator(argv[1]);
    const Socket listener(socket(AF_INET, SOCK_STREAM, 0));
    Listen(listener, argc > 2 ? std::atoi(argv[2]) : 0);
    std::list<Client> clients;
    pollfd waiting[2] = {{STDIN_FILENO, POLLIN, 0}, {listener.descriptor(), POLLIN, 0}};
    while (poll(waiting, 2, -1) > 0 && waiting[0].revents == 0) {
      clients.remove_if([](const Client& client) { return client.gone.load(); });
      Client& client = clients.emplace_back(accept(listener.descriptor(), nullptr, nullptr));
      client.thread = std::thread(&Client::Serve, &client, &generator);
    }
    for (Client& client : clients) shutdown(client.socket.descriptor(), SHUT_RD);  // no new requests
    generator.Close(Generator::CloseMode::kFinish);
    clients.clear();
    std::cout << "served " << generator.stats().finished << " requests" << std::endl;
    return 0;
  } catch (const Error& error) {
    std::cerr << ErrorCodeName(error.code()) << ": " << error.what() << '\n';
    return 1;
  }
}
