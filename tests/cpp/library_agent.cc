// Plays an agent on gRPC that knows nothing of a broker: library_agent TOKENS.
//
// gRPC's own credentials, those of its C core, get the tokens: from the file that GOOGLE_APPLICATION_CREDENTIALS
// names, or else from the metadata server. Each call goes to a server in this process, which looks at the token that
// came with it. Ends after TOKENS different ones, and prints them as one JSON object.

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <set>
#include <sstream>
#include <string>
#include <thread>

namespace {

// Answers every call with nothing, and keeps the bearer tokens that came.
class Noting : public grpc::CallbackGenericService {
 public:
  std::set<std::string> tokens;
  int calls = 0;

 private:
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    const auto& metadata = context->client_metadata();
    const auto found = metadata.find("authorization");
    if (found != metadata.end()) {
      const std::string value(found->second.data(), found->second.size());
      tokens.insert(value.substr(std::string("Bearer ").size()));
    }
    ++calls;
    class Done : public grpc::ServerGenericBidiReactor {
     public:
      Done() { Finish(grpc::Status::OK); }
      void OnDone() override { delete this; }
    };
    return new Done;
  }
};

std::shared_ptr<grpc::CallCredentials> Credentials() {
  const char* file = std::getenv("GOOGLE_APPLICATION_CREDENTIALS");
  if (file == nullptr) return grpc::GoogleComputeEngineCredentials();
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return grpc::ExternalAccountCredentials(text.str(), {"https://mail.google.com/"});
}

}  // namespace

int main(int count, char** arguments) {
  const size_t wanted = std::stoul(arguments[count - 1]);
  const std::string address = "unix:/tmp/library-agent-" + std::to_string(getpid());
  Noting service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::experimental::LocalServerCredentials(UDS));
  builder.RegisterCallbackGenericService(&service);
  const auto server = builder.BuildAndStart();

  const auto credentials = Credentials();
  if (credentials == nullptr) {
    std::cerr << "gRPC makes no credentials of this file\n";
    return 1;
  }
  const auto channel = grpc::CreateChannel(
      address, grpc::CompositeChannelCredentials(grpc::experimental::LocalCredentials(UDS), credentials));
  grpc::GenericStub stub(channel);
  while (service.tokens.size() < wanted) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    grpc::CompletionQueue queue;
    grpc::ByteBuffer answer;
    grpc::Status status;
    const auto call = stub.PrepareUnaryCall(&context, "/agent.Agent/Look", grpc::ByteBuffer(), &queue);
    call->StartCall();
    call->Finish(&answer, &status, &queue);
    void* tag;
    bool ok;
    queue.Next(&tag, &ok);
    if (service.calls == 0) {
      std::cerr << status.error_message() << "\n";
      return 1;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  server->Shutdown();
  std::cout << "{\"tokens\":[";
  const char* comma = "";
  for (const auto& token : service.tokens) {
    std::cout << comma << '"' << token << '"';
    comma = ",";
  }
  std::cout << "],\"calls\":" << service.calls << "}\n";
}
